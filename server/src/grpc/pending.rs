//! Answers that wait for a reader: each connection has so many bytes of them, and then its calls give no more until some
//! are gone. Without it a client that opens large windows and does not read has the hub keep a message for each of its
//! calls.
//!
//! What the HTTP library holds is counted exactly: the bytes of a body are handed on within an owner that counts them
//! down when it is dropped, be it because they were written, or because their call or connection has ended. What is read
//! from the log for an answer that is not yet counted, few calls of a connection read at a time.
//!
//! Streams and large answers wait. Small ones, such as those to acks, may have as much again: so a stream that its process
//! does not read keeps none of its acks waiting.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, transport::server::TcpConnectInfo};
use tower::{Layer, Service};

use super::{auth, turns::Turns};
use crate::limits::{
    LOADING_PER_CONNECTION_MAX, PENDING_BYTES_MAX, PENDING_BYTES_PER_CONNECTION_LEAST,
    PENDING_BYTES_PER_CONNECTION_MAX,
};

/// What waits on all connections of a hub, in bytes.
pub(super) type Total = Arc<AtomicUsize>;

/// What the calls of a connection know of it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    tcp: TcpConnectInfo,
    pending: Arc<Pending>,
    /// A permit for each call that reads events to answer with them.
    loading: Arc<Semaphore>,
}

impl Peer {
    pub(super) fn new(tcp: TcpConnectInfo, total: Total) -> Self {
        let loading = Arc::new(Semaphore::new(LOADING_PER_CONNECTION_MAX));
        Self { tcp, pending: Arc::new(Pending::new(total)), loading }
    }

    /// Returns the one that a call came from.
    pub(super) fn of<B>(request: &tonic::Request<B>) -> Self {
        request.extensions().get().cloned().expect("each connection is a peer")
    }

    /// Waits until a call may read events. Its permit is to be kept until they are handed on to the answer's body.
    pub(super) async fn load(&self) -> OwnedSemaphorePermit {
        let loading = Arc::clone(&self.loading);
        loading.acquire_owned().await.expect("the semaphore is never closed")
    }
}

/// How much a call is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// A few KB.
    Small,
    /// One message, as much as it holds.
    Large,
    /// Message after message.
    Stream,
}

impl Size {
    /// Returns that of a method, by the path of the call.
    fn of(path: &str) -> Self {
        if !path.starts_with("/hookline.") {
            return Self::Small;
        }
        if auth::is_stream(path) {
            return Self::Stream;
        }
        let method = path.rsplit('/').next().unwrap_or_default();
        if ["Get", "List", "Summarize", "Test"].iter().any(|large| method.starts_with(large)) {
            return Self::Large;
        }
        Self::Small
    }
}

/// What waits for the reader of one connection.
#[derive(Debug)]
pub(super) struct Pending {
    state: Mutex<State>,
    total: Total,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    /// Who waits for room, in the order in which they came. Whoever is woken wakes the next while there is room.
    waiting: BTreeMap<u64, Waker>,
    next_ticket: u64,
}

impl Pending {
    fn new(total: Total) -> Self {
        Self { state: Mutex::default(), total }
    }

    /// Returns whether there is room beside so many bytes of this connection. Who has to wait has bytes of its own there,
    /// and is woken when those are read: the total wakes nobody.
    fn has_room(&self, bytes: usize, size: Size) -> bool {
        match size {
            Size::Small => bytes < 2 * PENDING_BYTES_PER_CONNECTION_MAX,
            Size::Large | Size::Stream => {
                bytes < PENDING_BYTES_PER_CONNECTION_LEAST
                    || (bytes < PENDING_BYTES_PER_CONNECTION_MAX
                        && self.total.load(Relaxed) < PENDING_BYTES_MAX)
            }
        }
    }

    /// Waits until there is room. `ticket` is the caller's place among those who wait.
    fn poll_room(&self, size: Size, ticket: &mut Option<u64>, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if self.has_room(state.bytes, size) {
            if let Some(ticket) = ticket.take() {
                state.waiting.remove(&ticket);
            }
            return Poll::Ready(());
        }
        let ticket = *ticket.get_or_insert(state.next_ticket);
        state.next_ticket = state.next_ticket.max(ticket + 1);
        state.waiting.insert(ticket, cx.waker().clone());
        Poll::Pending
    }

    /// Counts bytes until they are dropped.
    fn hold(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        self.state.lock().bytes += bytes.len();
        self.total.fetch_add(bytes.len(), Relaxed);
        Bytes::from_owner(Held { bytes, pending: Arc::clone(self) })
    }

    fn release(&self, count: usize) {
        self.total.fetch_sub(count, Relaxed);
        self.state.lock().bytes -= count;
        self.wake_next();
    }

    fn leave(&self, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            self.state.lock().waiting.remove(&ticket);
        }
        self.wake_next();
    }

    /// Wakes the first of those who wait, if there is room for it whatever it is.
    fn wake_next(&self) {
        let mut state = self.state.lock();
        let has_room = self.has_room(state.bytes, Size::Stream);
        let next = if has_room { state.waiting.pop_first() } else { None };
        drop(state);
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }
}

/// Bytes that wait for a reader.
struct Held {
    bytes: Bytes,
    pending: Arc<Pending>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.pending.release(self.bytes.len());
    }
}

/// Bounds what waits for the reader of each connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounding;

impl<S> Layer<S> for Bounding {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Bounded(inner)
    }
}

/// A service whose answers are bounded.
#[derive(Clone, Debug)]
pub(super) struct Bounded<S>(S);

impl<S, B> Service<Request<B>> for Bounded<S>
where
    S: Service<Request<B>, Response = Response<tonic::body::Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: Send + 'static,
{
    type Response = Response<Turns<Answer>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let peer = peer.expect("each connection is a peer");
        // It is where tonic looks for the address of the client.
        request.extensions_mut().insert(peer.tcp.clone());
        // The one that is ready is used, and a clone kept for the next call.
        let ready = self.0.clone();
        let mut inner = std::mem::replace(&mut self.0, ready);
        Box::pin(async move {
            let size = Size::of(request.uri().path());
            let loading = if size == Size::Large { Some(peer.load().await) } else { None };
            let response = inner.call(request).await?;
            let pending = peer.pending;
            let answer = |body| Answer { body, size, pending, ticket: None, loading };
            Ok(response.map(|body| Turns::new(answer(body))))
        })
    }
}

/// The body of an answer, which gives nothing while too much waits.
#[derive(Debug)]
pub(super) struct Answer {
    body: tonic::body::Body,
    size: Size,
    pending: Arc<Pending>,
    ticket: Option<u64>,
    /// Until the message is counted.
    loading: Option<OwnedSemaphorePermit>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, size, pending, ticket, loading } = self.get_mut();
        ready!(pending.poll_room(*size, ticket, cx));
        let polled = Pin::new(body).poll_frame(cx);
        let hold = |frame: Frame<Bytes>| frame.map_data(|bytes| pending.hold(bytes));
        let polled = polled.map(|frame| frame.map(|frame| frame.map(hold)));
        if polled.is_ready() {
            *loading = None;
        }
        pending.wake_next();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.pending.leave(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::{super::woken::Woken, *};

    const MIB: usize = 1 << 20;

    /// An answer that has a MiB whenever it is asked, or never has anything.
    struct Call {
        answer: Answer,
        woken: Arc<Woken>,
    }

    impl Call {
        fn endless(pending: &Arc<Pending>) -> Self {
            let frame = || Ok::<_, Status>(Frame::data(Bytes::from(vec![0; MIB])));
            Self::of(pending, tonic::body::Body::new(StreamBody::new(stream::repeat_with(frame))))
        }

        fn silent(pending: &Arc<Pending>) -> Self {
            let frames = stream::pending::<Result<Frame<Bytes>, Status>>();
            Self::of(pending, tonic::body::Body::new(StreamBody::new(frames)))
        }

        fn of(pending: &Arc<Pending>, body: tonic::body::Body) -> Self {
            let pending = Arc::clone(pending);
            let answer = Answer { body, size: Size::Stream, pending, ticket: None, loading: None };
            Self { answer, woken: Arc::default() }
        }

        /// Returns the next bytes, if there are any now.
        fn next(&mut self) -> Option<Bytes> {
            let waker = Waker::from(Arc::clone(&self.woken));
            match Pin::new(&mut self.answer).poll_frame(&mut Context::from_waker(&waker)) {
                Poll::Pending | Poll::Ready(None) => None,
                Poll::Ready(Some(frame)) => frame.ok()?.into_data().ok(),
            }
        }

        fn was_woken(&self) -> bool {
            self.woken.was_woken()
        }
    }

    /// The only connection of a hub.
    fn alone() -> Arc<Pending> {
        Arc::new(Pending::new(Total::default()))
    }

    /// Has calls give bytes until there is no room.
    fn fill(pending: &Arc<Pending>) -> Vec<Bytes> {
        let mut call = Call::endless(pending);
        std::iter::from_fn(|| call.next()).collect()
    }

    #[test]
    fn calls_give_no_more_than_fits_and_go_on_one_after_the_other_once_it_is_written() {
        let pending = alone();
        let mut held = fill(&pending);
        assert_eq!(held.len() * MIB, PENDING_BYTES_PER_CONNECTION_MAX);
        let (mut one, mut two) = (Call::endless(&pending), Call::endless(&pending));
        assert_eq!((one.next(), two.next()), (None, None));
        // Parts of it may be written before the rest: it counts until the last is gone.
        let mut first = held.pop().unwrap();
        drop(first.split_to(MIB / 2));
        assert!(!one.was_woken());
        drop(first);
        assert_eq!((one.was_woken(), two.was_woken()), (true, false));
        held.extend(one.next());
        assert_eq!((one.next(), two.was_woken()), (None, false));
        held.pop();
        assert_eq!((one.was_woken(), two.was_woken()), (false, true));
    }

    #[test]
    fn one_that_has_nothing_or_is_gone_lets_the_next_go_on() {
        let pending = alone();
        let mut held = fill(&pending);
        let (mut silent, mut gone) = (Call::silent(&pending), Call::endless(&pending));
        let (mut left, mut last) = (Call::endless(&pending), Call::endless(&pending));
        assert!([silent.next(), gone.next(), left.next(), last.next()].iter().all(Option::is_none));
        drop(left);
        held.pop();
        assert!(silent.was_woken() && !gone.was_woken());
        assert_eq!(silent.next(), None);
        assert!(gone.was_woken() && !last.was_woken());
        drop(gone);
        assert!(last.was_woken());
        assert!(last.next().is_some());
    }

    #[test]
    fn a_message_larger_than_all_that_may_wait_is_given_when_there_is_any_room() {
        let pending = alone();
        let mut held = fill(&pending);
        held.pop();
        let large = Bytes::from(vec![0; 8 * MIB]);
        let frames = stream::iter([Ok::<_, Status>(Frame::data(large))]);
        let body = tonic::body::Body::new(StreamBody::new(frames));
        assert_eq!(Call::of(&pending, body).next().map(|bytes| bytes.len()), Some(8 * MIB));
        drop(held);
        assert_eq!(pending.state.lock().bytes, 0);
    }

    #[test]
    fn what_waits_on_other_connections_leaves_each_its_least() {
        let total = Total::default();
        let connection = || Arc::new(Pending::new(Arc::clone(&total)));
        let mut connections: Vec<_> = std::iter::repeat_with(connection).take(40).collect();
        let held: Vec<_> = connections.iter().map(fill).collect();
        let bytes = |held: &Vec<Bytes>| held.iter().map(Bytes::len).sum::<usize>();
        assert_eq!(bytes(&held[0]), PENDING_BYTES_PER_CONNECTION_MAX);
        assert_eq!(bytes(&held[39]), PENDING_BYTES_PER_CONNECTION_LEAST);
        let all = held.iter().map(bytes).sum::<usize>();
        assert_eq!(total.load(Relaxed), all);
        assert!(all <= PENDING_BYTES_MAX + 40 * PENDING_BYTES_PER_CONNECTION_LEAST);
        // One that has nothing waiting always goes on.
        let another = connection();
        assert!(Call::endless(&another).next().is_some());
        connections.clear();
        drop(held);
        assert_eq!(total.load(Relaxed), 0);
    }

    #[test]
    fn a_stream_that_is_not_read_keeps_no_small_answer_waiting() {
        let pending = alone();
        let mut held = fill(&pending);
        let mut small = Call::endless(&pending);
        small.answer.size = Size::Small;
        held.extend(std::iter::from_fn(|| small.next()));
        // Who does not read those either is not answered without end.
        assert_eq!(held.len() * MIB, 2 * PENDING_BYTES_PER_CONNECTION_MAX);
    }

    #[test]
    fn calls_are_told_from_each_other_by_what_they_are_answered_with() {
        let of = |method: &str| Size::of(&format!("/hookline.v1.{method}"));
        let services =
            ["EventService/GetEvent", "EventService/ListEvents", "EventService/TestFilter"];
        for large in services.into_iter().chain(["DeadLetterService/SummarizeDeadLetters"]) {
            assert_eq!(of(large), Size::Large, "{large}");
        }
        for stream in
            ["EventService/WatchEvents", "SubscriberService/Subscribe", "AdminService/Backup"]
        {
            assert_eq!(of(stream), Size::Stream, "{stream}");
        }
        for small in [
            "SubscriberService/Ack",
            "SubscriberService/Nack",
            "SubscriberService/ExtendLease",
            "EventService/PublishEvent",
            "DeadLetterService/RedriveDeadLetters",
        ] {
            assert_eq!(of(small), Size::Small, "{small}");
        }
        assert_eq!(Size::of("/grpc.health.v1.Health/List"), Size::Small);
    }
}
