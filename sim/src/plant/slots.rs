//! Bugs that are planted in what a node replies about its slots.

use shard_cache_proto::peer::{ExchangeSlotsRequest, ExchangeSlotsResponse};

use super::Plant;

/// The replies as a node with the bug gives them.
pub(crate) fn replies(
    plant: Option<Plant>,
    request: &ExchangeSlotsRequest,
    mut response: ExchangeSlotsResponse,
) -> ExchangeSlotsResponse {
    match plant {
        Some(Plant::PullUnsealed) => unseal(request, &mut response),
        Some(Plant::SettledEarly) => {
            for reply in &mut response.replies {
                reply.settled |= reply.full;
            }
        }
        _ => {}
    }
    response
}

/// Every pull is answered as if the source were in the configuration that is asked about, and is not full there.
fn unseal(request: &ExchangeSlotsRequest, response: &mut ExchangeSlotsResponse) {
    let pulls = request.questions.iter().filter(|question| question.pull);
    for question in pulls {
        let replies = &mut response.replies;
        let reply = replies.iter_mut().find(|reply| reply.slot == question.slot);
        let Some(reply) = reply.filter(|reply| !reply.answered && reply.configuration > 0) else {
            continue;
        };
        let place = usize::try_from(question.configuration).ok();
        let asked = place.and_then(|place| request.configurations.get(place.checked_sub(1)?));
        let Some(asked) = asked else { continue };
        response.configurations.push(asked.clone());
        reply.configuration = u32::try_from(response.configurations.len()).unwrap_or(u32::MAX);
        reply.answered = true;
        reply.full = false;
    }
}
