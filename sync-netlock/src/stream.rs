//! A byte stream over TCP, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The byte stream of a connection, on the server or on a client.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<TcpStream>>),
}

impl Stream {
    /// Writes as many bytes as possible without waiting, and returns their number. Registers no
    /// waker, so the task is not woken when the stream can take more.
    #[cfg(feature = "server")]
    pub(crate) async fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written =
            std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *self).poll_write(cx, bytes)));
        match written.await {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(0),
        }
    }

    /// As [`write_now`](Self::write_now), with bytes in several pieces.
    #[cfg(feature = "server")]
    pub(crate) async fn write_pieces_now(
        &mut self,
        pieces: &[io::IoSlice<'_>],
    ) -> io::Result<usize> {
        let written = std::future::poll_fn(|cx| {
            Poll::Ready(Pin::new(&mut *self).poll_write_vectored(cx, pieces))
        });
        match written.await {
            Poll::Ready(written) => written,
            Poll::Pending => Ok(0),
        }
    }

    /// Flushes as far as possible without waiting, and returns whether nothing is left in a buffer.
    #[cfg(feature = "server")]
    pub(crate) async fn flush_now(&mut self) -> io::Result<bool> {
        if !self.needs_flush() {
            return Ok(true);
        }
        let flushed = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *self).poll_flush(cx)));
        match flushed.await {
            Poll::Ready(flushed) => flushed.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// Returns whether written bytes may stay in a buffer until the stream is flushed.
    pub(crate) fn needs_flush(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

macro_rules! delegate {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, stream => stream.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, stream => stream.poll_shutdown(cx))
    }
}
