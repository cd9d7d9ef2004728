//! Bodies of requests and answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::snapshot::Upload;
use crate::writer::StreamBody;

/// The body of a request to a peer or of an answer to one.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    /// An error text in a chunk of its own, after which the connection breaks.
    Broken(BrokenAt),
    Stream(Box<StreamBody>),
    Upload(Box<Upload>),
}

#[derive(Debug)]
enum BrokenAt {
    Text(Bytes),
    Flush,
    End,
}

/// Why a body ended before its end. The connection is then closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The error text was sent; etcd breaks the connection after it.
    #[error("the connection ends with the error")]
    Broken,
    /// The source of a snapshot went away before its end.
    #[error("the snapshot ended early")]
    SourceEnded,
}

impl Body {
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
        Body(Kind::Whole(bytes.into()))
    }

    pub(crate) fn broken(text: impl Into<Bytes>) -> Body {
        Body(Kind::Broken(BrokenAt::Text(text.into())))
    }

    pub(crate) fn stream(stream: StreamBody) -> Body {
        Body(Kind::Stream(Box::new(stream)))
    }

    pub(crate) fn upload(upload: Upload) -> Body {
        Body(Kind::Upload(Box::new(upload)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Broken(at) => match at {
                BrokenAt::Text(text) => {
                    let text = std::mem::take(text);
                    *at = BrokenAt::Flush;
                    Poll::Ready(Some(Ok(Frame::data(text))))
                }
                // A body that waits is flushed, one that fails is not.
                BrokenAt::Flush => {
                    *at = BrokenAt::End;
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                BrokenAt::End => Poll::Ready(Some(Err(BodyError::Broken))),
            },
            Kind::Stream(stream) => stream.poll_chunk(cx).map(|c| c.map(|b| Ok(Frame::data(b)))),
            Kind::Upload(upload) => upload.poll_chunk(cx).map(|c| c.map(|b| b.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Broken(_) | Kind::Stream(_) | Kind::Upload(_) => SizeHint::default(),
        }
    }
}
