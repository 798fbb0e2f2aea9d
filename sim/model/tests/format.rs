//! The format of scenarios: what is refused, and what is said of it; what a line means.

use slot_model::{
    config::{Member, NodeId},
    modelled::Modelled,
    rules::Rules,
    scenario::{
        Action, Expectation, Failure, Kind, NamedConfig, NodeExpectation, OperationName, Scenario,
        Unmet, play,
    },
};

fn parsed(text: &str) -> Scenario {
    Scenario::parse(text).expect("a scenario")
}

fn refused(text: &str) -> String {
    Scenario::parse(text)
        .expect_err("not a scenario")
        .to_string()
}

fn played(text: &str) -> Result<(), Failure> {
    let scenario = parsed(text);
    play(&scenario, &mut Modelled::new(&scenario, Rules::sound()))
}

fn unmet(text: &str) -> (usize, Unmet) {
    let failure = played(text).expect_err("a scenario that fails");
    (failure.line, failure.unmet)
}

#[test]
fn mistakes_are_named_by_line_with_what_is_accepted() {
    let cases = [
        (
            "first ABC",
            "line 1: the first line, and no other, names the nodes",
        ),
        (
            "nodes ABC\nnodes ABC",
            "line 2: the first line, and no other, names the nodes",
        ),
        (
            "nodes ACB",
            "line 1: \"ACB\" where AB, ABC, ABCD, ABCDE or ABCDEF is accepted",
        ),
        (
            "# nothing\n\nnodes ABC\nfirst ABD",
            "line 4: no node D, only A to C",
        ),
        ("nodes ABCD\nfirst ABA", "line 2: node A stands there twice"),
        (
            "nodes ABCD\nfirst ABCD",
            "line 2: \"ABCD\" where one to three owners is accepted",
        ),
        (
            "nodes ABCD\nadopt A 2",
            "line 2: the line ends where one to three owners is accepted",
        ),
        (
            "nodes ABCD\nadopt A two ABD",
            "line 2: \"two\" where a number up to 255 is accepted",
        ),
        (
            "nodes AB\nadopt A 2 AB1",
            "line 2: node B has boot 0, not yet 1",
        ),
        (
            "nodes AB\npull A from A",
            "line 2: node A cannot ask itself",
        ),
        ("nodes AB\npull A B", "line 2: \"B\" where from is accepted"),
        (
            "nodes AB\ncrash A twice",
            "line 2: \"twice\" where the end of the line is accepted",
        ),
        (
            "nodes AB\nwrite A k3 at AB",
            "line 2: \"k3\" where k1 or k2 is accepted",
        ),
        (
            "nodes AB\nexpect acknowledged",
            "line 2: no operation before this line",
        ),
        (
            "nodes AB\nexpect A holds one",
            "line 2: nothing before is called one",
        ),
        (
            "nodes AB\nwrite A k1 at A as one\nread B k1 at B as one",
            "line 3: something before is called one",
        ),
        (
            "nodes AB\ndeliver one",
            "line 2: nothing before is called one",
        ),
        (
            "nodes AB\ncatches everything",
            "line 2: no planted bug is called everything",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(refused(text), message, "{text}");
    }
    assert!(refused("nodes AB\nadpt A from B").contains("first, adopt, join"));
    assert!(refused("nodes AB\nexpect A fool").contains("nowhere, full, not"));
}

#[test]
fn owners_have_the_boot_of_their_line_unless_one_is_written() {
    let scenario = parsed("nodes ABC\ncrash B\nadopt A 2 AB0C\ncrash B\nadopt A 3 CBA");
    let member = |node, boot| Member {
        node: NodeId(node),
        boot,
    };
    let config = |step: usize| match &scenario.steps[step].kind {
        Kind::Do(Action::Adopt { config, .. }) => config.clone(),
        other => panic!("not an adoption: {other:?}"),
    };
    let (older, present) = (config(1), config(3));
    assert_eq!(
        older,
        NamedConfig {
            number: 2,
            owners: vec![member(0, 0), member(1, 0), member(2, 0)],
        }
    );
    assert_eq!(
        present.owners,
        [member(2, 0), member(1, 2), member(0, 0)],
        "in the order that is written"
    );
    assert_eq!(present.to_string(), "3 CB2A");
}

#[test]
fn steps_know_their_line_and_what_they_refer_to() {
    let scenario = parsed(
        "# a comment\nnodes AB\n\nfirst AB # another\nwrite A k1 at A as one\nwrite B k1 at B\n\
         send one at B\nexpect A holds one",
    );
    let lines: Vec<usize> = scenario.steps.iter().map(|step| step.line).collect();
    assert_eq!(lines, [4, 5, 6, 7, 8]);
    assert_eq!(scenario.steps[0].text, "first AB");
    assert_eq!((scenario.nodes, scenario.operations), (2, 2));
    let Kind::Do(Action::Send { name, .. }) = &scenario.steps[3].kind else {
        panic!("not sent");
    };
    assert_eq!(*name, OperationName(0));
    assert_eq!(
        scenario.steps[4].kind,
        Kind::Expect(Expectation::Node {
            node: NodeId(0),
            is: NodeExpectation::Holds(OperationName(0)),
        })
    );
}

#[test]
fn a_step_without_effect_fails_and_a_tried_one_does_not() {
    let start = "nodes ABC\nfirst ABC\n";
    let lower = "adopt A 1 ABC";
    assert_eq!(unmet(&format!("{start}{lower}")), (3, Unmet::NoEffect));
    assert_eq!(played(&format!("{start}try {lower}")), Ok(()));
    assert_eq!(played(&format!("{start}cannot {lower}")), Ok(()));
    let higher = "adopt A 2 AB";
    assert_eq!(
        unmet(&format!("{start}cannot {higher}")),
        (3, Unmet::Effect)
    );
    assert_eq!(played(&format!("{start}try {higher}")), Ok(()));
}

#[test]
fn an_unmet_expectation_says_what_there_is_instead() {
    let start = "nodes ABCD\nfirst ABC\nadopt A 2 ABD\n";
    let instead = |expected: &str| match unmet(&format!("{start}expect {expected}")) {
        (4, Unmet::Found { instead }) => instead,
        other => panic!("{expected}: {other:?}"),
    };
    assert_eq!(instead("A in 1 ABC"), "2 ABD");
    assert_eq!(instead("A preds none"), "1 ABC");
    assert_eq!(instead("A full"), "it is not");
    assert_eq!(instead("D top 1 ABC"), "none");
    assert_eq!(instead("lost 1"), "lost 0");
}

#[test]
fn an_answer_arrives_late_or_never() {
    let start = "nodes ABCD\nfirst ABC\nadopt A 2 ABD\nadopt B from A\nadopt D from A\n";
    let late = "pull A from B late answer\nexpect B seen\nexpect A not full\n";
    assert_eq!(
        played(&format!("{start}{late}deliver answer\nexpect A full")),
        Ok(())
    );
    // A has left the config that it asked in.
    assert_eq!(
        played(&format!(
            "{start}{late}adopt A 3 ABC\ncannot deliver answer\nexpect A not full"
        )),
        Ok(())
    );
    assert_eq!(
        played(&format!(
            "{start}pull A from B lost-answer\nexpect B seen\nexpect A not full"
        )),
        Ok(())
    );
    assert_eq!(
        played(
            "nodes AB\nfirst AB\ncrash B\njoin B from A late answer\nexpect B nowhere\n\
             deliver answer\nexpect B in 1 AB0"
        ),
        Ok(())
    );
}

#[test]
fn requests_arrive_when_the_scenario_says_so() {
    assert_eq!(
        played(
            "nodes ABC\nfirst ABC\nwrite A k1 at BC lost-answer as one\nexpect B holds one\n\
             expect unanswered\nagain one at BC\nexpect acknowledged\nexpect A empty\n\
             send one at A\nexpect A holds one"
        ),
        Ok(())
    );
}

#[test]
fn a_coordinator_that_changes_root_has_no_answer() {
    let text = "nodes AB\nfirst AB\ncrash B\njoin B from A\nadopt A 2 AB\nadopt B from A\n\
                write A k1 at B\npull A from B\ndeclare A present 2\ncannot again at A\n\
                expect unknown";
    assert_eq!(played(text), Ok(()));
}
