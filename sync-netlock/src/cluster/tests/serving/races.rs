//! Requests that race each other while the leader changes.

use super::*;

const TTL: Duration = Duration::from_secs(60);

/// Returns the claims of a queue, in their order.
async fn claims(raw: &mut Raw, name: &str) -> Vec<u64> {
    match raw.ask(inspect(name)).await {
        Ok(Answer::Queue(queue)) => {
            let entries = queue.entries.iter();
            entries.map(|entry| entry.claim.unwrap().low).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Returns whether a connection still has the reply to its last request. Connections to a leader
/// that is cut off end soon.
async fn is_acknowledged(mut raw: Raw) -> bool {
    let last = raw.last;
    let reply = async {
        while let Ok((of, _)) = raw.next().await {
            if of == last {
                return true;
            }
        }
        false
    };
    timeout(PATIENCE, reply).await.expect("the connection ends")
}

/// A release races a renewal, a cancellation and the end of a waiter's session race the grant, and
/// the leader is cut off meanwhile. The clients repeat at the next leader what was not
/// acknowledged.
#[tokio::test]
async fn a_release_a_cancellation_and_the_end_of_a_session_race_a_change_of_leaders() {
    let cluster = Cluster::form().await;
    for (round, pause) in [(1, 0), (2, 2), (3, 5), (4, 12)] {
        let name = format!("lock-{round}");
        // Sessions and claims have the same numbers. The fourth one waits on.
        let [one, two, three, four] = [1, 2, 3, 4].map(|number| round * 10 + number);
        let (old, mut holder) = cluster.leader().await;
        let address = cluster.servers[&old].address.clone();
        holder.ask(open(one, TTL)).await.unwrap();
        let first = holder.acquire(one, &name).await.unwrap();
        let mut waiters = Vec::new();
        for number in [two, three, four] {
            let mut waiter = Raw::connect(&address).await.unwrap();
            waiter.ask(open(number, TTL)).await.unwrap();
            let queued = waiter.ask(enqueue(number, &name)).await;
            assert!(matches!(queued, Ok(Answer::Waiting(_))), "{queued:?}");
            waiters.push(waiter);
        }
        waiters[0].send(withdraw(two)).await;
        holder.send(renew()).await;
        holder.send(withdraw(one)).await;
        waiters[1]
            .send(Ask::Close(wire::Close { session: 1 }))
            .await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        cluster.servers[&old].node.cut_off(true);
        let ending = waiters.remove(1);
        let is_closed = is_acknowledged(ending).await;
        let is_cancelled = is_acknowledged(waiters.remove(0)).await;
        let is_released = is_acknowledged(holder).await;

        let (new, mut holder) = cluster.leader_except(&old).await;
        let address = cluster.servers[&new].address.clone();
        let attached = holder.ask(attach(one)).await;
        assert!(matches!(attached, Ok(Answer::Attached(_))), "{attached:?}");
        if !is_cancelled {
            let mut cancelling = Raw::connect(&address).await.unwrap();
            cancelling.ask(attach(two)).await.unwrap();
            cancelling.ask(withdraw(two)).await.unwrap();
        }
        let mut ending = Raw::connect(&address).await.unwrap();
        if matches!(ending.ask(attach(three)).await, Ok(Answer::Attached(_))) {
            assert!(!is_closed, "a session that was closed lives again");
            let closed = ending.ask(Ask::Close(wire::Close { session: 1 })).await;
            assert!(matches!(closed, Ok(Answer::Closed(_))), "{closed:?}");
        }
        if !is_released {
            holder.ask(withdraw(one)).await.unwrap();
        }
        // A release again is late: the lock has another holder.
        for request in [renew(), withdraw(one), renew()] {
            assert_eq!(claims(&mut holder, &name).await, [four]);
            let reply = holder.ask(request).await;
            assert!(
                matches!(reply, Ok(Answer::Renewed(_) | Answer::Withdrawn(_))),
                "{reply:?}"
            );
        }
        let mut last = Raw::connect(&address).await.unwrap();
        last.ask(attach(four)).await.unwrap();
        let token = timeout(PATIENCE, last.acquire(four, &name)).await;
        assert!(token.expect("a grant in time").unwrap() > first);
        cluster.servers[&old].node.cut_off(false);
    }
    cluster.stop().await;
}
