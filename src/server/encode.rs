//! Encodes responses: small ones at once, larger ones in slices with everything else of the
//! shard having its turn between them, streams as they come. Which and how is the filter's
//! (`filter/compress`).

use core::cell::RefCell;
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::channel::{Receiver, Sender, bounded};
use crate::filter::compress::{Compressor, EncodeError, Lent, Plan};
use crate::http::{Body, BodyError, Claim, Coding, Frame, Method, RequestHead, Response, Stored};
use crate::metrics::{Counter, Recorder};
use crate::net::buffers::Buffers;
use crate::net::disk::Disk;
use crate::net::{give_way, sleep, spawn};
use crate::server::{pieces, pulled};

/// Bytes encoded at a time: well below a millisecond with every default level.
const SLICE_BYTES: usize = 16 * 1024;
/// Content up to so many bytes is encoded before its head is sent, which then tells its length.
const WHOLE_BYTES_MAX: usize = 1 << 20;
/// The same for content whose encoding is kept.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// Encoded bytes that are worth a frame of their own.
const FRAME_BYTES: usize = 16 * 1024;
/// Encoded frames that may wait for the client.
const FRAMES_QUEUED_MAX: usize = 2;
/// How long a stream may hold encoded bytes back when its source is silent.
const FLUSH_AFTER: Duration = Duration::from_millis(20);

type Frames = Receiver<Result<Frame, BodyError>>;
type Encoded = Sender<Result<Frame, BodyError>>;

/// What encodes the responses of one shard.
#[derive(Debug)]
pub(super) struct Encoding {
    compressor: Compressor,
    turns: Turns,
    recorder: Rc<Recorder>,
    /// To read files with.
    disk: Option<Disk>,
    buffers: Buffers,
}

impl Encoding {
    pub(super) fn new(
        compressor: Compressor,
        recorder: Rc<Recorder>,
        (disk, buffers): (Option<Disk>, Buffers),
    ) -> Self {
        Self {
            compressor,
            turns: Turns::new(),
            recorder,
            disk,
            buffers,
        }
    }

    pub(super) const fn compressor(&self) -> &Compressor {
        &self.compressor
    }

    /// Carries a plan out. Where no encoder is to be had the response stays as it is.
    pub(super) async fn encode(
        self: &Rc<Self>,
        request: &RequestHead,
        response: &mut Response,
        plan: Plan,
    ) {
        let is_head = request.method == Method::Head;
        let body = match core::mem::take(&mut response.body) {
            Body::Stored(stored) if stored.identity().len() <= KEPT_BYTES_MAX => {
                // Kept, it answers GET later: so HEAD makes it too and can tell its length.
                match self.kept(&stored, plan).await {
                    Some(encoded) => return plan.finish(response, encoded),
                    None => Body::Stored(stored),
                }
            }
            _ if is_head => return plan.finish(response, Body::Empty),
            body => body,
        };
        let Some(lent) = self.compressor.encoders().lend(plan.coding, plan.shape) else {
            self.recorder.count(Counter::EncodersBusy);
            response.body = body;
            return;
        };
        let whole = match body {
            Body::Stream(frames) => {
                return plan.finish(response, self.stream(frames, lent, plan));
            }
            Body::Source(source) => {
                let frames = pulled::frames(source);
                return plan.finish(response, self.stream(frames, lent, plan));
            }
            Body::Full(bytes) => bytes,
            Body::Static(bytes) => Bytes::from_static(bytes),
            Body::Stored(stored) => stored.identity().clone(),
            Body::Pieces(pieces) => {
                let frames = pieces::frames(pieces, self.disk.clone(), &self.buffers);
                return plan.finish(response, self.stream(frames, lent, plan));
            }
            body @ (Body::Empty | Body::Tunnel(_)) => {
                response.body = body;
                return;
            }
        };
        if whole.len() > WHOLE_BYTES_MAX {
            return plan.finish(response, self.large(whole, lent, plan.coding));
        }
        match self.whole(lent, &whole).await {
            Ok(encoded) => plan.finish(response, encoded),
            Err(error) => {
                self.failed(error);
                response.body = Body::Full(whole);
            }
        }
    }

    /// The kept encoding; made now if nobody makes it already.
    async fn kept(&self, stored: &Rc<Stored>, plan: Plan) -> Option<Bytes> {
        let maker = match poll_fn(|cx| stored.poll_claim(cx, plan.coding)).await {
            Claim::Kept(encoded) => return Some(encoded),
            Claim::Make(maker) => maker,
        };
        let encoders = self.compressor.encoders();
        let Some(lent) = encoders.lend(plan.coding, plan.shape) else {
            self.recorder.count(Counter::EncodersBusy);
            return None;
        };
        match self.whole(lent, maker.identity()).await {
            Ok(encoded) => {
                let encoded = Bytes::from(encoded);
                maker.keep(encoded.clone());
                Some(encoded)
            }
            Err(error) => {
                self.failed(error);
                None
            }
        }
    }

    /// Encodes content at hand. Dropped, it leaves nothing behind.
    async fn whole(&self, mut lent: Lent, content: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let coding = lent.coding();
        let mut out = Vec::with_capacity(content.len() / 4 + FRAME_BYTES);
        self.slices(&mut lent, content, &mut out).await?;
        lent.finish(&mut out)?;
        self.count(coding, content.len(), out.len());
        Ok(out)
    }

    async fn slices(
        &self,
        lent: &mut Lent,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        if content.len() <= SLICE_BYTES {
            return lent.write(content, out);
        }
        for slice in content.chunks(SLICE_BYTES) {
            let _turn = self.turns.take().await;
            lent.write(slice, out)?;
            give_way().await;
        }
        Ok(())
    }

    /// Encodes large content at hand while it is sent.
    fn large(self: &Rc<Self>, content: Bytes, lent: Lent, coding: Coding) -> Body {
        let (sender, receiver) = bounded(FRAMES_QUEUED_MAX);
        let mut pump = self.pump(sender, lent, coding);
        spawn(async move {
            for slice in content.chunks(SLICE_BYTES) {
                if pump.write(slice).await.is_err() {
                    return;
                }
            }
            pump.finish(None).await;
        });
        Body::Stream(receiver)
    }

    /// Encodes a stream as it comes.
    fn stream(self: &Rc<Self>, frames: Frames, lent: Lent, plan: Plan) -> Body {
        let (sender, receiver) = bounded(FRAMES_QUEUED_MAX);
        let pump = self.pump(sender, lent, plan.coding);
        let patience = if plan.flushes {
            Duration::ZERO
        } else {
            FLUSH_AFTER
        };
        spawn(pump.run(frames, patience));
        Body::Stream(receiver)
    }

    fn pump(self: &Rc<Self>, sender: Encoded, lent: Lent, coding: Coding) -> Pump {
        Pump {
            encoding: Rc::clone(self),
            lent,
            coding,
            sender,
            out: Vec::new(),
            holds_back: false,
        }
    }

    fn count(&self, coding: Coding, input: usize, output: usize) {
        let (bytes_in, bytes_out) = match coding {
            Coding::Br => (Counter::BrotliInput, Counter::BrotliOutput),
            Coding::Zstd => (Counter::ZstdInput, Counter::ZstdOutput),
            Coding::Gzip => (Counter::GzipInput, Counter::GzipOutput),
        };
        self.recorder.add(bytes_in, input as u64);
        self.recorder.add(bytes_out, output as u64);
    }

    fn failed(&self, _error: EncodeError) {
        self.recorder.count(Counter::EncoderFailures);
    }
}

/// One body on its way through an encoder. Ends when the client leaves.
struct Pump {
    encoding: Rc<Encoding>,
    lent: Lent,
    coding: Coding,
    sender: Encoded,
    /// Encoded and not yet handed on.
    out: Vec<u8>,
    /// The encoder may hold bytes that the client could use.
    holds_back: bool,
}

/// Nobody wants the rest.
struct Over;

/// What a stream brings next.
#[allow(
    clippy::large_enum_variant,
    reason = "made and taken apart within one wait"
)]
enum Next {
    Frame(Option<Result<Frame, BodyError>>),
    /// Nothing, and the client should see what there is.
    Silence,
    Over,
}

impl Pump {
    async fn run(mut self, mut frames: Frames, patience: Duration) {
        loop {
            let outcome = match self.next(&mut frames, patience).await {
                Next::Frame(Some(Ok(Frame::Data(bytes)))) => self.write(&bytes).await,
                Next::Frame(Some(Ok(Frame::Trailers(trailers)))) => {
                    return self.finish(Some(Frame::Trailers(trailers))).await;
                }
                Next::Frame(Some(Err(error))) => {
                    let _ = self.hand_on(0).await;
                    let _ = self.sender.send(Err(error)).await;
                    return;
                }
                Next::Frame(None) => return self.finish(None).await,
                Next::Silence => self.flush().await,
                Next::Over => return,
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    async fn next(&self, frames: &mut Frames, patience: Duration) -> Next {
        let mut silence = pin!(async {
            if !patience.is_zero() {
                sleep(patience).await;
            }
        });
        let mut closed = pin!(self.sender.closed());
        poll_fn(|cx| {
            if let Poll::Ready(frame) = frames.poll_recv(cx) {
                return Poll::Ready(Next::Frame(frame));
            }
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Over);
            }
            if self.holds_back && silence.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Silence);
            }
            Poll::Pending
        })
        .await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        for slice in bytes.chunks(SLICE_BYTES) {
            let before = self.out.len();
            let written = {
                let _turn = self.encoding.turns.take().await;
                let written = self.lent.write(slice, &mut self.out);
                give_way().await;
                written
            };
            self.check(written).await?;
            let made = self.out.len() - before;
            self.encoding.count(self.coding, slice.len(), made);
            self.holds_back = true;
            self.hand_on(FRAME_BYTES).await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Over> {
        let before = self.out.len();
        let flushed = self.lent.flush(&mut self.out);
        self.check(flushed).await?;
        self.encoding.count(self.coding, 0, self.out.len() - before);
        self.holds_back = false;
        self.hand_on(0).await
    }

    async fn finish(mut self, trailers: Option<Frame>) {
        let before = self.out.len();
        let finished = self.lent.finish(&mut self.out);
        if self.check(finished).await.is_err() {
            return;
        }
        self.encoding.count(self.coding, 0, self.out.len() - before);
        if self.hand_on(0).await.is_ok()
            && let Some(trailers) = trailers
        {
            let _ = self.sender.send(Ok(trailers)).await;
        }
    }

    /// Hands encoded bytes on once there are more than so many.
    async fn hand_on(&mut self, beyond: usize) -> Result<(), Over> {
        if self.out.len() <= beyond {
            return Ok(());
        }
        let bytes = Bytes::from(core::mem::take(&mut self.out));
        let sent = self.sender.send(Ok(Frame::Data(bytes))).await;
        sent.map_err(|_gone| Over)
    }

    /// A body whose encoder failed is cut off, so that nobody takes it for whole.
    async fn check(&self, result: Result<(), EncodeError>) -> Result<(), Over> {
        let Err(error) = result else {
            return Ok(());
        };
        self.encoding.failed(error);
        let _ = self.sender.send(Err(BodyError::Incomplete)).await;
        Err(Over)
    }
}

/// Lets one body of the shard be encoded at a time, slice by slice, so that many together take
/// no more of each turn of the loop than one.
#[derive(Debug)]
struct Turns {
    sender: Sender<()>,
    receiver: RefCell<Receiver<()>>,
}

struct Turn<'a>(&'a Turns);

impl Turns {
    fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Self {
            sender,
            receiver: RefCell::new(receiver),
        }
    }

    async fn take(&self) -> Turn<'_> {
        // The other half is beside it and cannot be gone.
        let _ = self.sender.send(()).await;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.receiver.borrow_mut().try_recv();
    }
}

#[cfg(test)]
mod tests;
