//! A connection to one server. Replies arrive in the order of the commands, with push messages
//! between them.
//!
//! Callers write to the socket directly, and one task reads and wakes them. The redis crate's
//! client has a task and channels in between and a general parser, and takes up to 60 % more
//! instructions for an acquire and its release (decision 38 in docs/decisions).

mod end;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use distsync_core::spi::locked;
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::inbox::Inbox;
use crate::resp::{self, Words};
use end::{Asker, Awaited, End, Reader, Stream, hung_up};

/// A connection. Its reader task ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Wire {
    end: Arc<Mutex<End>>,
    inbox: Arc<Inbox>,
    _reader: Arc<JoinSet<()>>,
}

impl Wire {
    /// Starts a connection on a stream. The server may be silent for `busy` longer than usual,
    /// because a command of this client blocks the connection for that long.
    ///
    /// # Panics
    /// Outside of a runtime of tokio.
    pub(crate) fn start(stream: impl Stream, busy: Duration) -> Self {
        let inbox = Arc::new(Inbox::default());
        let end = Arc::new(Mutex::new(End::new(stream, busy)));
        let mut reader = Reader::new(end.clone(), inbox.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { std::future::poll_fn(|cx| reader.poll(cx)).await });
        Self {
            end,
            inbox,
            _reader: Arc::new(task),
        }
    }

    /// Returns the inbox that receives push messages and the loss of the connection.
    pub(crate) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Sends the one command that `write` writes, and waits for the reply.
    ///
    /// # Cancel safety
    /// The command is sent at the first poll. Dropping the future does not undo it.
    pub(crate) async fn ask(&self, write: impl FnOnce(&mut Vec<u8>)) -> RedisResult<Value> {
        self.send(write, Awaited::Answer)?.await
    }

    /// Sends the subscription to a channel. The returned future waits for the confirmation.
    pub(crate) fn subscribe(
        &self,
        channel: &str,
    ) -> RedisResult<impl Future<Output = RedisResult<Value>> + use<>> {
        self.send_about(b"SUBSCRIBE", channel)
    }

    /// Ends the subscription to a channel, without waiting for the confirmation.
    pub(crate) fn unsubscribe(&self, channel: &str) {
        // An error is the loss of the connection, which ends its subscriptions. A user without the
        // permission to unsubscribe stays subscribed.
        let _ = self.send_about(b"UNSUBSCRIBE", channel);
    }

    fn send_about(
        &self,
        command: &[u8],
        channel: &str,
    ) -> RedisResult<impl Future<Output = RedisResult<Value>> + use<>> {
        let mut words = Words::default();
        words.word(command);
        words.word(channel.as_bytes());
        self.send(
            |to| resp::write_command(to, [words].iter()),
            Awaited::Subscription,
        )
    }

    fn send<W: FnOnce(&mut Vec<u8>)>(
        &self,
        write: W,
        awaited: fn(Asker) -> Awaited,
    ) -> RedisResult<impl Future<Output = RedisResult<Value>> + use<W>> {
        let (asker, answer) = oneshot::channel();
        locked(&self.end).send(write, awaited(asker))?;
        Ok(async { answer.await.unwrap_or_else(|_| Err(hung_up())) })
    }
}

/// Lets the commands and scripts of the redis crate use this connection.
impl ConnectionLike for Wire {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.ask(|to| command.write_packed_command(to)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let mut answers = Vec::new();
            for command in pipeline.cmd_iter() {
                answers.push(self.ask(|to| command.write_packed_command(to)).await?);
            }
            Ok(answers.into_iter().skip(offset).take(count).collect())
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::end::{LOOK, SILENT_LOOKS};
    use super::*;

    /// Creates a connection and the server's end of it, with a buffer of `room` bytes.
    fn wire(room: usize) -> (Wire, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        (Wire::start(ours, Duration::ZERO), theirs)
    }

    async fn ask(wire: &Wire, word: &str) -> RedisResult<Value> {
        wire.ask(|to| to.extend_from_slice(word.as_bytes())).await
    }

    async fn hear(server: &mut DuplexStream, expected: &str) {
        let mut heard = vec![0; expected.len()];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), expected);
    }

    #[tokio::test]
    async fn answers_come_in_the_order_of_the_questions() {
        let (wire, mut server) = wire(1_000);
        let serving = async {
            hear(&mut server, "abc").await;
            for part in [":1\r\n:", "2\r", "\n-ERR no\r\n"] {
                server.write_all(part.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (answers, ()) = tokio::join!(
            join_all(["a", "b", "c"].map(|word| ask(&wire, word))),
            serving
        );
        assert_eq!(answers[..2], [Ok(Value::Int(1)), Ok(Value::Int(2))]);
        assert_eq!(answers[2].as_ref().unwrap_err().detail(), Some("no"));
    }

    #[tokio::test]
    async fn reply_to_a_cancelled_request_is_dropped() {
        let (wire, mut server) = wire(1_000);
        let mut gone = Box::pin(ask(&wire, "a"));
        assert!(futures_util::poll!(gone.as_mut()).is_pending());
        drop(gone);
        server.write_all(b":1\r\n:2\r\n").await.unwrap();
        assert_eq!(ask(&wire, "b").await, Ok(Value::Int(2)));
    }

    #[tokio::test]
    async fn a_subscription_is_answered_by_a_message_or_refused_by_an_answer() {
        let (wire, mut server) = wire(1_000);
        let serving = async {
            hear(&mut server, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\nx").await;
            // A push message between replies is not a reply.
            let messages = ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n:7\r\n";
            server.write_all(messages.as_bytes()).await.unwrap();
            hear(&mut server, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nb\r\n").await;
            server.write_all(b"-NOPERM not you\r\n").await.unwrap();
        };
        let asking = async {
            let (told, answer) = tokio::join!(wire.subscribe("a").unwrap(), ask(&wire, "x"));
            assert_eq!((told, answer), (Ok(Value::Okay), Ok(Value::Int(7))));
            assert_eq!(
                wire.subscribe("b").unwrap().await.unwrap_err().code(),
                Some("NOPERM")
            );
        };
        tokio::join!(serving, asking);
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_is_sent_on() {
        let (wire, mut server) = wire(16);
        let word = "0123456789".repeat(100);
        let serving = async {
            hear(&mut server, &word).await;
            server.write_all(b"+OK\r\n").await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&wire, &word), serving);
        assert_eq!(answer, Ok(Value::Okay));
    }

    #[tokio::test]
    async fn all_are_told_that_the_server_has_gone() {
        for last in ["", "what is this?\r\n", ":1\r\n:2\r\n"] {
            let (wire, mut server) = wire(1_000);
            let serving = async {
                hear(&mut server, "a").await;
                server.write_all(last.as_bytes()).await.unwrap();
                drop(server);
            };
            let (answer, ()) = tokio::join!(ask(&wire, "a"), serving);
            assert_eq!(answer.is_ok(), last.starts_with(':'), "{answer:?}");
            while !wire.inbox().is_lost() {
                tokio::task::yield_now().await;
            }
            assert!(ask(&wire, "b").await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn server_that_does_not_answer_is_abandoned() {
        let (wire, mut server) = wire(1_000);
        // No reply is outstanding.
        tokio::time::sleep(20 * LOOK).await;
        assert!(!wire.inbox().is_lost());
        // It is slow, but it speaks.
        let serving = async {
            for byte in b":12345678\r\n" {
                tokio::time::sleep(2 * LOOK).await;
                server.write_all(&[*byte]).await.unwrap();
            }
        };
        assert_eq!(
            tokio::join!(ask(&wire, "a"), serving).0,
            Ok(Value::Int(12_345_678))
        );
        let start = tokio::time::Instant::now();
        assert!(ask(&wire, "b").await.unwrap_err().is_timeout());
        let took = start.elapsed();
        assert!(
            (SILENT_LOOKS * LOOK..=(SILENT_LOOKS + 1) * LOOK).contains(&took),
            "{took:?}"
        );
        assert!(ask(&wire, "c").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_kept_waiting_by_ourselves_may_be_silent_for_longer() {
        let (ours, mut server) = tokio::io::duplex(1_000);
        let wire = Wire::start(ours, 10 * LOOK);
        let serving = async {
            tokio::time::sleep((SILENT_LOOKS + 9) * LOOK).await;
            server.write_all(b":1\r\n").await.unwrap();
        };
        assert_eq!(
            tokio::join!(ask(&wire, "WAIT"), serving).0,
            Ok(Value::Int(1))
        );
    }

    #[test]
    fn all_are_told_that_the_runtime_has_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (wire, _server) = runtime.block_on(async { wire(1_000) });
        let asking = std::thread::spawn({
            let wire = wire.clone();
            move || futures_util::FutureExt::now_or_never(ask(&wire, "a"))
        });
        assert_eq!(asking.join().unwrap(), None, "it waits");
        drop(runtime);
        assert!(wire.inbox().is_lost());
        assert!(
            futures_util::FutureExt::now_or_never(ask(&wire, "b"))
                .unwrap()
                .is_err()
        );
    }
}
