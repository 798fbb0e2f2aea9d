//! The client: one connection to one node.

use std::time::Duration;

use shard_cache_proto::{
    cache::{
        DeleteManyRequest, Explain, Failure, GetManyRequest, HealthRequest, HealthResponse,
        SetItem, SetManyRequest, cache_service_client::CacheServiceClient, delete_result,
        get_result, set_item, set_request, set_result,
    },
    cluster::{
        MembersRequest, MembersResponse, OwnersRequest, OwnersResponse, StatusRequest,
        StatusResponse, admin_client::AdminClient, cluster_client::ClusterClient,
    },
};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::{
    deadline::{bounded, bounded_explained, request},
    endpoint,
    error::ClientError,
    request::{
        CallOptions, Deleted, KEY_BYTES_MAX_DEFAULT, Read, Ttl, VALUE_BYTES_MAX_DEFAULT, Value,
        Written,
    },
    spans::CallSpan,
};

/// Room for everything in a message beside key and value, in bytes.
const MESSAGE_SLACK_BYTES: usize = 64 * 1024;

/// How a client connects and what it accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientOptions {
    /// How long a connection attempt to one address may take.
    pub connect_timeout: Duration,
    /// Deadline of a call that has none of its own.
    pub timeout: Duration,
    /// Largest message sent or received, in bytes. Raise it together with the nodes' `max_value_size`.
    pub message_bytes_max: usize,
    /// Whether calls for keys are recorded as spans, with the OpenTelemetry provider that the application has set globally,
    /// below the span that it works in; the node's spans then hang below them.
    pub spans: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            message_bytes_max: VALUE_BYTES_MAX_DEFAULT
                + KEY_BYTES_MAX_DEFAULT
                + MESSAGE_SLACK_BYTES,
            spans: false,
        }
    }
}

/// What became of a request, and how the node carried it out.
#[derive(Debug)]
pub struct Explained<T> {
    /// The answer, or why there is none; see [`ClientError`].
    pub outcome: Result<T, ClientError>,
    /// How it was carried out. Absent when the node did not get as far as to find owners, or did not answer.
    pub explain: Option<Explain>,
}

/// A client that is connected to one node, and reconnects to it when the connection breaks. Clones share the
/// connection and are cheap. Every method may be cancelled by dropping its future; a write may then still be applied.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    pub(crate) timeout: Duration,
    spans: bool,
    cache: CacheServiceClient<Channel>,
    cluster: ClusterClient<Channel>,
    pub(crate) admin: AdminClient<Channel>,
}

impl Client {
    /// Connects to a node at `host:port` or `http://host:port`; port 8080 when none is given. A name with several
    /// addresses is tried at all of them. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `InvalidEndpoint` or `Unreachable`.
    pub async fn connect(endpoint: &str, options: ClientOptions) -> Result<Self, ClientError> {
        let channel = endpoint::parse(endpoint)?
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .connect()
            .await
            .map_err(|error| ClientError::unreachable(endpoint, &error))?;
        let bytes_max = options.message_bytes_max;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            timeout: options.timeout,
            spans: options.spans,
            cache: CacheServiceClient::new(channel.clone())
                .max_decoding_message_size(bytes_max)
                .max_encoding_message_size(bytes_max),
            // A report of many nodes may be larger than any value: tonic's own limit, 4 MiB.
            cluster: ClusterClient::new(channel.clone()),
            admin: AdminClient::new(channel),
        })
    }

    /// Connects to the first of several nodes that can be reached, in the order given.
    ///
    /// # Errors
    /// `InvalidEndpoint` at the first address that is none; otherwise `Unreachable`, naming all addresses.
    pub async fn connect_any(
        endpoints: &[String],
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let mut causes = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            match Self::connect(endpoint, options).await {
                Err(ClientError::Unreachable { message, .. }) => causes.push(message),
                result => return result,
            }
        }
        causes.dedup();
        let message = if causes.is_empty() {
            "no endpoint given".to_owned()
        } else {
            causes.join("; ")
        };
        Err(ClientError::Unreachable {
            endpoint: endpoints.join(", "),
            message,
        })
    }

    /// The address that this client is connected to, as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Reads a key. A miss is not an error.
    ///
    /// # Errors
    /// See [`ClientError`]; reading again is always safe.
    pub async fn get(&self, key: &str, options: &CallOptions) -> Result<Read, ClientError> {
        let (message, timeout) = (options.get(key, false), self.timeout(options));
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.get(request).await };
        let answer = self.call("GET", None, request(message, timeout), timeout, send);
        let answer = answer.await.map_err(|(error, _)| error);
        self.name(answer)?.try_into()
    }

    /// The same, and how the node carried it out.
    pub async fn get_explained(&self, key: &str, options: &CallOptions) -> Explained<Read> {
        let (message, timeout) = (options.get(key, true), self.timeout(options));
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.get(request).await };
        let answer = self.call("GET", None, request(message, timeout), timeout, send);
        let answer = answer.await;
        self.explained(answer, |answer| answer.explain.take())
    }

    /// Stores a value.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::outcome`] says whether the value may still appear.
    pub async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Ttl,
        options: &CallOptions,
    ) -> Result<Written, ClientError> {
        let timeout = self.timeout(options);
        let message = options.set(key, value, ttl, false);
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.set(request).await };
        let answer = self.call("SET", None, request(message, timeout), timeout, send);
        let answer = answer.await.map_err(|(error, _)| error);
        self.name(answer)?.try_into()
    }

    /// The same, and how the node carried it out.
    pub async fn set_explained(
        &self,
        key: &str,
        value: Value,
        ttl: Ttl,
        options: &CallOptions,
    ) -> Explained<Written> {
        let timeout = self.timeout(options);
        let message = options.set(key, value, ttl, true);
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.set(request).await };
        let answer = self.call("SET", None, request(message, timeout), timeout, send);
        let answer = answer.await;
        self.explained(answer, |answer| answer.explain.take())
    }

    /// Deletes a key. Deleting an absent key is not an error.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::outcome`] says whether the key may still disappear.
    pub async fn delete(&self, key: &str, options: &CallOptions) -> Result<Deleted, ClientError> {
        let (message, timeout) = (options.delete(key, false), self.timeout(options));
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.delete(request).await };
        let answer = self.call("DELETE", None, request(message, timeout), timeout, send);
        let answer = answer.await.map_err(|(error, _)| error);
        self.name(answer)?.try_into()
    }

    /// The same, and how the node carried it out.
    pub async fn delete_explained(&self, key: &str, options: &CallOptions) -> Explained<Deleted> {
        let (message, timeout) = (options.delete(key, true), self.timeout(options));
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.delete(request).await };
        let answer = self.call("DELETE", None, request(message, timeout), timeout, send);
        let answer = answer.await;
        self.explained(answer, |answer| answer.explain.take())
    }

    /// Takes the explanation out of an answer, or out of a failure.
    fn explained<W, T: TryFrom<W, Error = ClientError>>(
        &self,
        answer: Result<W, (ClientError, Option<Explain>)>,
        take: impl FnOnce(&mut W) -> Option<Box<Explain>>,
    ) -> Explained<T> {
        match answer {
            Ok(mut answer) => Explained {
                explain: take(&mut answer).map(|explain| *explain),
                outcome: answer.try_into(),
            },
            Err((error, explain)) => Explained {
                explain,
                outcome: self.name(Err(error)),
            },
        }
    }

    /// Reads many keys in one call. Results come in the order of the keys.
    ///
    /// # Errors
    /// See [`ClientError`], of the call as a whole; reading again is always safe.
    pub async fn get_many(
        &self,
        keys: &[&str],
        options: &CallOptions,
    ) -> Result<Vec<Result<Read, ClientError>>, ClientError> {
        let message = GetManyRequest {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            consistency: options.consistency.to_wire(),
            degrade: options.degrade,
        };
        let timeout = self.timeout(options);
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.get_many(request).await };
        let items = Some(keys.len());
        let answer = self.call("GET", items, request(message, timeout), timeout, send);
        let answer = answer.await.map_err(|(error, _)| error);
        let results = self.name(answer)?.results.into_iter();
        let results = results.map(|one| match one.result {
            Some(get_result::Result::Response(read)) => read.try_into(),
            Some(get_result::Result::Failure(failure)) => Err(failure.into()),
            None => Err(NO_RESULT),
        });
        of_all(results.collect(), keys.len())
    }

    /// Stores many values in one call. Results come in the order of the values; of those with the same key the last one
    /// wins.
    ///
    /// # Errors
    /// See [`ClientError`], of the call as a whole; [`ClientError::outcome`] says whether values may still appear.
    pub async fn set_many(
        &self,
        values: Vec<(String, Value, Ttl)>,
        options: &CallOptions,
    ) -> Result<Vec<Result<Written, ClientError>>, ClientError> {
        let count = values.len();
        let item = |(key, value, ttl): (String, Value, Ttl)| SetItem {
            key,
            data: Some(match value.into_wire() {
                set_request::Data::Value(text) => set_item::Data::Value(text),
                set_request::Data::ValueBytes(bytes) => set_item::Data::ValueBytes(bytes),
            }),
            ttl: ttl.to_wire(),
        };
        let message = SetManyRequest {
            items: values.into_iter().map(item).collect(),
            consistency: options.consistency.to_wire(),
            degrade: options.degrade,
        };
        let timeout = self.timeout(options);
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.set_many(request).await };
        let items = Some(count);
        let answer = self.call("SET", items, request(message, timeout), timeout, send);
        let answer = answer.await.map_err(|(error, _)| error);
        let results = self.name(answer)?.results.into_iter();
        let results = results.map(|one| match one.result {
            Some(set_result::Result::Response(written)) => written.try_into(),
            Some(set_result::Result::Failure(failure)) => Err(failure.into()),
            None => Err(NO_RESULT),
        });
        of_all(results.collect(), count)
    }

    /// Deletes many keys in one call. Results come in the order of the keys.
    ///
    /// # Errors
    /// See [`ClientError`], of the call as a whole; [`ClientError::outcome`] says whether keys may still disappear.
    pub async fn delete_many(
        &self,
        keys: &[&str],
        options: &CallOptions,
    ) -> Result<Vec<Result<Deleted, ClientError>>, ClientError> {
        let message = DeleteManyRequest {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            consistency: options.consistency.to_wire(),
            degrade: options.degrade,
        };
        let timeout = self.timeout(options);
        let mut cache = self.cache.clone();
        let send = |request| async move { cache.delete_many(request).await };
        let items = Some(keys.len());
        let answer = self.call("DELETE", items, request(message, timeout), timeout, send);
        let answer = answer.await.map_err(|(error, _)| error);
        let results = self.name(answer)?.results.into_iter();
        let results = results.map(|one| match one.result {
            Some(delete_result::Result::Response(deleted)) => deleted.try_into(),
            Some(delete_result::Result::Failure(failure)) => Err(failure.into()),
            None => Err(NO_RESULT),
        });
        of_all(results.collect(), keys.len())
    }

    /// What the node thinks of itself and of its cluster.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn health(&self) -> Result<HealthResponse, ClientError> {
        let mut cache = self.cache.clone();
        let call = cache.health(request(HealthRequest {}, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// The reports of all nodes, gathered by this one, and whether they agree.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cluster_status(&self) -> Result<StatusResponse, ClientError> {
        let mut cluster = self.cluster.clone();
        let call = cluster.status(request(StatusRequest {}, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// The members as this node sees them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn cluster_members(&self) -> Result<MembersResponse, ClientError> {
        let mut cluster = self.cluster.clone();
        let call = cluster.members(request(MembersRequest {}, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// The owners of a key, in order of preference.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn owners(&self, key: &str) -> Result<OwnersResponse, ClientError> {
        let mut cluster = self.cluster.clone();
        let message = OwnersRequest {
            key: key.to_owned(),
        };
        let call = cluster.owners(request(message, self.timeout));
        self.name(bounded(self.timeout, call).await)
    }

    /// One call for keys, with its span.
    async fn call<M, T, F>(
        &self,
        operation: &'static str,
        items: Option<usize>,
        mut request: Request<M>,
        timeout: Duration,
        send: impl FnOnce(Request<M>) -> F,
    ) -> Result<T, (ClientError, Option<Explain>)>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let span = if self.spans {
            CallSpan::begin(operation, &self.endpoint, items)
        } else {
            CallSpan::off()
        };
        span.send_along(request.metadata_mut());
        let answer = bounded_explained(timeout, send(request)).await;
        span.end(answer.as_ref().err().map(|(error, _)| error));
        answer
    }

    fn timeout(&self, options: &CallOptions) -> Duration {
        options.timeout.unwrap_or(self.timeout)
    }

    /// Puts this client's address into an error that does not know it.
    pub(crate) fn name<T>(&self, result: Result<T, ClientError>) -> Result<T, ClientError> {
        result.map_err(|error| match error {
            ClientError::Unreachable { message, .. } => ClientError::Unreachable {
                endpoint: self.endpoint.clone(),
                message,
            },
            other => other,
        })
    }
}

const NO_RESULT: ClientError = ClientError::BadAnswer {
    message: "no result of an item",
};

/// The results of a batch, if there is one of every item.
fn of_all<T>(results: Vec<T>, count: usize) -> Result<Vec<T>, ClientError> {
    if results.len() == count {
        return Ok(results);
    }
    Err(ClientError::BadAnswer {
        message: "not as many results as items",
    })
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        let Failure {
            reason, message, ..
        } = failure;
        let code = Code::from(failure.code);
        match code {
            Code::ResourceExhausted => Self::Shed {
                message,
                retry_after: Some(Duration::from_millis(failure.retry_after_ms.into())),
            },
            Code::Unavailable => Self::Unavailable { reason, message },
            Code::DeadlineExceeded => Self::DeadlineExceeded { message },
            Code::InvalidArgument => Self::Rejected { code, message },
            _ => Self::Unknown { code, message },
        }
    }
}
