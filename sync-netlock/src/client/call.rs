//! One request of a caller.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use distsync_core::Result;
use distsync_core::spi::Session;

use super::Client;
use super::connection::PendingReply;
use crate::engine::{Command, Reply};

/// A command, and then its first reply. Dropping it cancels the request.
///
/// A type of its own, because an `async fn` would store the command twice, and the rare cases
/// beside the common one, in each of thousands of tasks.
pub(super) enum Call<'a> {
    New(&'a Client, Option<&'a Session>, Command<'a>),
    Sent(PendingReply),
    /// There was no connection, or its driver runs on another runtime.
    Rare(Pin<Box<dyn Future<Output = Result<Reply>> + Send + 'a>>),
}

impl Future for Call<'_> {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reply>> {
        match &mut *self {
            Self::Sent(pending) => pending.poll(cx),
            Self::Rare(reply) => reply.as_mut().poll(cx),
            Self::New(client, session, command) => {
                let (client, session, command) = (*client, *session, *command);
                match client.current().filter(|current| current.is_here()) {
                    // The slot of the request has the waker from the start, so that this poll needs
                    // the mutex once.
                    Some(current) => {
                        *self = Self::Sent(current.send(session, command, cx)?);
                        Poll::Pending
                    }
                    None => {
                        let mut reply = Box::pin(rare(client, session, command));
                        let polled = reply.as_mut().poll(cx);
                        *self = Self::Rare(reply);
                        polled
                    }
                }
            }
        }
    }
}

/// Connects if necessary, and makes the request, maybe from another runtime.
async fn rare<'a>(
    client: &'a Client,
    session: Option<&'a Session>,
    command: Command<'a>,
) -> Result<Reply> {
    let connection = client.connection().await?;
    let mut pending = None;
    let reply = poll_fn(|cx| match &mut pending {
        Some(pending) => PendingReply::poll(pending, cx),
        None => {
            pending = Some(connection.clone().send(session, command, cx)?);
            Poll::Pending
        }
    });
    connection.await_reply(reply).await
}
