//! What sessions that renew cost the nodes.

use std::time::Duration;

use distsync_core::spi::{Secret, SessionId};
use distsync_netlock::engine::{Command, Terms};
use distsync_netlock::wire::encode_command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::nodes::Nodes;
use super::{raw, side};

const SESSIONS: u32 = 10_000;
const TTL: Duration = Duration::from_secs(15);
/// Each session is renewed once in this time.
const PERIOD: Duration = Duration::from_secs(5);
/// The renewals of a period are sent in this many groups.
const GROUPS: u32 = 50;
/// How long the processor time is measured.
const MEASURED: Duration = Duration::from_secs(15);

pub(crate) fn table(program: &str) {
    println!("{SESSIONS} sessions that renew every {PERIOD:?}       % of a core   wanted");
    let nodes = Nodes::start(program);
    let leader = nodes.leader();
    side::runtime().block_on(async {
        let (mut stream, mut group) = (TcpStream::connect(nodes.clients[leader]).await, Vec::new());
        let stream = stream.as_mut().expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        stream.write_all(&raw::hello()).await.expect("write");
        for number in 0..SESSIONS {
            let session = session(number);
            let (secret, terms) = (Secret::from_bits(7), Terms::lasting(TTL));
            let open = Command::Open {
                session,
                secret,
                terms,
                client: "bench",
                isolation: b"",
            };
            encode_command(u64::from(number) + 2, number + 1, open, &mut group);
        }
        stream.write_all(&group).await.expect("write");
        replies(stream, SESSIONS + 1).await;
        for _ in 0..2 {
            // The first pass settles what the sessions have left behind.
            let before = [0, 1, 2].map(|node| nodes.cpu(node));
            let mut tick = tokio::time::interval(PERIOD / GROUPS);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for round in 0..MEASURED.as_secs() / PERIOD.as_secs() * u64::from(GROUPS) {
                tick.tick().await;
                let first = u32::try_from(round).expect("it fits") % GROUPS * (SESSIONS / GROUPS);
                group.clear();
                for number in first..first + SESSIONS / GROUPS {
                    let renew = Command::Renew {
                        session: session(number),
                    };
                    encode_command(u64::from(number) + 2, number + 1, renew, &mut group);
                }
                stream.write_all(&group).await.expect("write");
                replies(stream, SESSIONS / GROUPS).await;
            }
            let after = [0, 1, 2].map(|node| nodes.cpu(node));
            for node in 0..3 {
                let (role, wanted) = if node == leader {
                    ("leader", "-")
                } else {
                    ("follower", "2")
                };
                let share = (after[node] - before[node]) / MEASURED.as_secs_f64() * 100.0;
                println!("{role:<50} {share:>11.2} {wanted:>8}");
            }
        }
    });
    println!();
}

fn session(number: u32) -> SessionId {
    SessionId::from_bits(u128::from(number) + 1)
}

/// Reads this many replies.
async fn replies(stream: &mut TcpStream, count: u32) {
    let mut reply = Vec::new();
    for _ in 0..count {
        let length = stream.read_u32().await.expect("read");
        reply.resize(length as usize, 0);
        stream.read_exact(&mut reply).await.expect("read");
    }
}
