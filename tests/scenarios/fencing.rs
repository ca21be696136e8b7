//! The recipes of `docs/fencing.md`, against real stores and with the tokens of real grants.

use std::sync::Arc;

use distsync::etcd::etcd_client::{self, Compare, CompareOp, KvClient, Txn, TxnOp, TxnOpResponse};
use distsync::{Guard, LockOptions, Sync, Token, connect};

use crate::stores::{Etcd, Redis};

/// A resource that a lock protects, with the two steps of fencing.
trait Resource {
    /// Enters and reads; `None` for a token that is rejected.
    async fn enter(&mut self, token: Token) -> Option<String>;
    /// Writes; `false` for a token that is rejected.
    async fn write(&mut self, token: Token, value: &str) -> bool;
}

fn digits(token: Token) -> String {
    format!("{:019}", token.get())
}

/// Ends the claim of a holder that does not notice, as if it was stopped for longer than its TTL,
/// and acquires the next one.
async fn next(sync: &dyn Sync, holder: Option<&Guard>) -> Guard {
    let lock = sync.lock("r", LockOptions::new()).unwrap();
    if let Some(holder) = holder {
        lock.evict(holder.claim()).await.unwrap();
    }
    lock.acquire().await.unwrap()
}

/// No update is lost, although a former holder resumes at any point.
async fn loses_no_update(sync: Arc<dyn Sync>, mut resource: impl Resource) {
    let first = next(&*sync, None).await;
    let a = first.token();
    assert!(!resource.write(a, "early").await, "it has not entered");
    assert_eq!(resource.enter(a).await.as_deref(), Some(""));
    assert!(resource.write(a, "a").await && resource.write(a, "a2").await);
    assert_eq!(resource.enter(a).await.as_deref(), Some("a2"), "again");

    let second = next(&*sync, Some(&first)).await;
    let b = second.token();
    // The next holder has not entered yet, so this write precedes its read.
    assert!(resource.write(a, "a3").await);
    assert_eq!(resource.enter(b).await.as_deref(), Some("a3"));
    assert!(!resource.write(a, "lost").await, "a former holder writes");
    assert_eq!(resource.enter(a).await, None, "a former holder enters");
    assert!(!resource.write(a, "lost").await, "a former holder writes");
    assert!(resource.write(b, "a3b").await);
    assert_eq!(resource.enter(b).await.as_deref(), Some("a3b"));
    // The greatest token, which 53-bit numbers cannot tell from its neighbours.
    let (last, greatest) = (Token::new(Token::MAX.get() - 1).unwrap(), Token::MAX);
    assert_eq!(resource.enter(last).await.as_deref(), Some("a3b"));
    assert_eq!(resource.enter(greatest).await.as_deref(), Some("a3b"));
    assert_eq!(resource.enter(last).await, None);
    assert!(!resource.write(last, "lost").await && resource.write(greatest, "end").await);
}

/// Returns the blocks of code of one language in the page.
fn blocks(language: &str) -> Vec<&'static str> {
    let page = include_str!("../../docs/fencing.md");
    let begin = format!("```{language}\n");
    let blocks = page.split(begin.as_str()).skip(1);
    blocks
        .map(|rest| rest.split("```").next().expect("an end"))
        .collect()
}

struct RedisHash(redis::aio::MultiplexedConnection);

impl RedisHash {
    async fn run<T: redis::FromRedisValue>(&mut self, script: usize, arguments: &[&str]) -> T {
        let scripts = blocks("lua");
        assert_eq!(scripts.len(), 2, "the page has two scripts");
        let script = redis::Script::new(scripts[script]);
        let mut call = script.key("r");
        for argument in arguments {
            call.arg(*argument);
        }
        call.invoke_async(&mut self.0).await.unwrap()
    }
}

impl Resource for RedisHash {
    async fn enter(&mut self, token: Token) -> Option<String> {
        match self.run(0, &[&digits(token)]).await {
            redis::Value::Array(reply) if reply[0] == redis::Value::Int(1) => {
                let value = reply.into_iter().nth(1);
                Some(value.map_or(String::new(), |value| {
                    redis::from_redis_value::<Option<String>>(value)
                        .unwrap()
                        .unwrap_or_default()
                }))
            }
            _ => None,
        }
    }

    async fn write(&mut self, token: Token, value: &str) -> bool {
        self.run(1, &[&digits(token), value]).await
    }
}

#[tokio::test]
async fn the_scripts_of_redis_lose_no_update() {
    let redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port());
    let client = redis::Client::open(url.as_str()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    loses_no_update(connect(&url).await.unwrap(), RedisHash(connection)).await;
}

struct EtcdKeys(KvClient);

impl Resource for EtcdKeys {
    async fn enter(&mut self, token: Token) -> Option<String> {
        let token = digits(token);
        let enter = Txn::new()
            .when([Compare::value("r/fence", CompareOp::Greater, token.clone())])
            .or_else([
                TxnOp::put("r/fence", token.clone(), None),
                TxnOp::get("r/value", None),
            ]);
        let reply = self.0.txn(enter).await.unwrap();
        if reply.succeeded() {
            return None;
        }
        let value = reply.op_responses().into_iter().find_map(|op| match op {
            TxnOpResponse::Get(got) => got
                .kvs()
                .first()
                .map(|kv| kv.value_str().map(str::to_owned)),
            _ => None,
        });
        Some(value.transpose().unwrap().unwrap_or_default())
    }

    async fn write(&mut self, token: Token, value: &str) -> bool {
        let write = Txn::new()
            .when([Compare::value("r/fence", CompareOp::Equal, digits(token))])
            .and_then([TxnOp::put("r/value", value, None)]);
        self.0.txn(write).await.unwrap().succeeded()
    }
}

#[tokio::test]
async fn the_transactions_of_etcd_lose_no_update() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let client = etcd_client::Client::connect([&address], None)
        .await
        .unwrap();
    let sync = connect(&format!("etcd://{address}")).await.unwrap();
    loses_no_update(sync, EtcdKeys(client.kv_client())).await;
}
