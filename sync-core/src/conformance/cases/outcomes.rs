//! The outcome of each SPI call for a claim that is held, waits, was withdrawn or evicted, or whose
//! session has ended.

use std::time::Duration;

use bytes::Bytes;

use crate::conformance::Stage;
use crate::conformance::stage::SOON;
use crate::locks::traits::Sync;
use crate::spi::backend::{Backend, Claim, Gone, Renewal, Session, Standing};
use crate::types::error::ErrorKind;
use crate::types::names::Kind;
use crate::types::nonce::Secret;
use crate::types::queue::Withdrawn;

async fn update(backend: &dyn Backend, claim: &Claim) -> bool {
    backend
        .update(claim, Bytes::from_static(b"new"))
        .await
        .expect("update")
}

/// Calls for claims of a live session return the outcomes in the table of the SPI's docs.
pub async fn spi_each_call_answers_by_the_state_of_the_claim(stage: Stage) {
    let backend = stage.backend().await;
    let session = stage.session(&backend).await;
    let (holder, waiter, unknown) = (
        stage.claim(session, "a"),
        stage.claim(session, "a"),
        stage.claim(session, "a"),
    );
    let Standing::Granted { token } = backend.enqueue(&holder).await.expect("enqueue") else {
        panic!("the name is free");
    };
    let waiting = backend.enqueue(&waiter).await.expect("enqueue");
    assert!(
        matches!(waiting, Standing::Waiting { position: 1, .. }),
        "{waiting:?}"
    );

    assert_eq!(
        backend.enqueue(&holder).await.expect("enqueue"),
        Standing::Granted { token }
    );
    let again = backend.enqueue(&waiter).await.expect("enqueue");
    assert!(
        matches!(again, Standing::Waiting { position: 1, .. }),
        "{again:?}"
    );
    assert!(
        update(&*backend, &holder).await,
        "expected a holder to change its value"
    );
    assert!(
        !update(&*backend, &unknown).await,
        "an unknown claim has changed its value"
    );
    assert_eq!(
        backend.withdraw(&unknown).await.expect("withdraw"),
        Withdrawn::Absent
    );
    if stage.capabilities().evict {
        assert_eq!(
            backend
                .evict(&unknown.name, unknown.id)
                .await
                .expect("evict"),
            Withdrawn::Absent
        );
    }

    assert_eq!(
        backend.withdraw(&waiter).await.expect("withdraw"),
        Withdrawn::Waiting
    );
    assert_eq!(
        backend.withdraw(&waiter).await.expect("withdraw"),
        Withdrawn::Absent,
        "withdrawn twice"
    );
    let anew = backend.enqueue(&waiter).await.expect("enqueue");
    assert!(
        matches!(anew, Standing::Waiting { position: 1, .. }),
        "{anew:?}"
    );
    if stage.capabilities().evict {
        assert_eq!(
            backend.evict(&waiter.name, waiter.id).await.expect("evict"),
            Withdrawn::Waiting
        );
        assert_eq!(
            backend.evict(&holder.name, holder.id).await.expect("evict"),
            Withdrawn::Held
        );
        assert!(
            !update(&*backend, &holder).await,
            "an evicted holder has changed its value"
        );
        assert_eq!(
            backend.withdraw(&holder).await.expect("withdraw"),
            Withdrawn::Absent
        );
    }
    backend.close(&session).await.expect("close");
}

/// Calls for claims of an ended session return those outcomes too. A renewal does not revive the
/// session.
pub async fn spi_each_call_answers_that_the_session_has_ended(stage: Stage) {
    let backend = stage.backend().await;
    let (session, other) = (stage.session(&backend).await, stage.session(&backend).await);
    let (holder, waiter, late) = (
        stage.claim(session, "a"),
        stage.claim(session, "b"),
        stage.claim(session, "c"),
    );
    let blocking = stage.claim(other, "b");
    assert!(matches!(
        backend.enqueue(&holder).await.expect("enqueue"),
        Standing::Granted { .. }
    ));
    assert!(matches!(
        backend.enqueue(&blocking).await.expect("enqueue"),
        Standing::Granted { .. }
    ));
    assert!(matches!(
        backend.enqueue(&waiter).await.expect("enqueue"),
        Standing::Waiting { .. }
    ));
    backend.close(&session).await.expect("close");
    backend.close(&session).await.expect("close again");

    for claim in [&holder, &waiter, &late] {
        let ended = Standing::Gone {
            why: Gone::SessionLost,
        };
        assert_eq!(
            backend.enqueue(claim).await.expect("enqueue"),
            ended,
            "`{}`",
            claim.name
        );
        assert!(!update(&*backend, claim).await, "`{}`", claim.name);
        backend.withdraw(claim).await.expect("withdraw");
        let queue = backend.queue(&claim.name).await.expect("queue");
        assert!(
            queue.entries.iter().all(|entry| entry.claim == blocking.id),
            "{queue:?}"
        );
    }
    for _ in 0..2 {
        assert_eq!(
            backend.renew(&session).await.expect("renew"),
            Renewal::Expired
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(
        backend.enqueue(&blocking).await.expect("enqueue"),
        Standing::Granted { .. }
    ));
    backend.close(&other).await.expect("close");
}

/// An eviction is reported once, by the call under way or the next one. The call after that waits
/// for another eviction.
pub async fn spi_an_eviction_is_reported_once(stage: Stage) {
    let backend = stage.backend().await;
    if !stage.capabilities().reports_evictions || !stage.capabilities().evict {
        let session = stage.session(&backend).await;
        let refused = backend
            .evictions(&session)
            .await
            .expect_err("expected a rejection: the capability says no");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        return;
    }
    let session = stage.session(&backend).await;
    for name in ["a", "b"] {
        let claim = stage.claim(session, name);
        assert!(matches!(
            backend.enqueue(&claim).await.expect("enqueue"),
            Standing::Granted { .. }
        ));
        let (reported, evicted) = tokio::join!(
            tokio::time::timeout(SOON + stage.ttl(), backend.evictions(&session)),
            backend.evict(&claim.name, claim.id),
        );
        assert_eq!(evicted.expect("evict"), Withdrawn::Held);
        assert_eq!(
            reported.expect("reported in time").expect("evictions"),
            [claim.id],
            "`{name}`"
        );
        let again =
            tokio::time::timeout(Duration::from_millis(300), backend.evictions(&session)).await;
        assert!(again.is_err(), "reported again: {again:?}");
    }
    // While no call is under way.
    let claim = stage.claim(session, "c");
    assert!(matches!(
        backend.enqueue(&claim).await.expect("enqueue"),
        Standing::Granted { .. }
    ));
    let evicted = backend.evict(&claim.name, claim.id).await.expect("evict");
    assert_eq!(evicted, Withdrawn::Held);
    let reported = tokio::time::timeout(SOON + stage.ttl(), backend.evictions(&session)).await;
    assert_eq!(
        reported.expect("reported in time").expect("evictions"),
        [claim.id],
        "expected the next call to report it"
    );
    backend.close(&session).await.expect("close");
}

/// A prefix is matched literally, even if it contains wildcards of the store.
pub async fn api_a_prefix_is_literal(stage: Stage) {
    let client = stage.client("client").await;
    let names = ["a%b", "a*b", "a.b", "a?b", "a[b]", "a\\b", "a_b", "axb"];
    let mut guards = Vec::new();
    for name in names {
        guards.push(client.lock(name).acquire().await.expect("acquire"));
    }
    for name in names {
        for prefix in [&name[..2], name] {
            let listed = client.sync.list(Kind::Lock, prefix).await.expect("list");
            assert_eq!(
                listed,
                [name],
                "expected one name with the prefix `{prefix}`"
            );
        }
    }
    let mut all = client.sync.list(Kind::Lock, "a").await.expect("list");
    all.sort_unstable();
    assert_eq!(all, names);
}

/// A wrong secret is answered as a session that has ended, on stores that check secrets. On others
/// the id is enough.
pub async fn spi_a_session_needs_its_secret_where_the_store_checks_it(stage: Stage) {
    let (owner, other) = (stage.backend().await, stage.backend().await);
    let session = stage.session(&owner).await;
    let stolen = Session {
        secret: Secret::random(),
        ..session
    };
    let held = stage.claim(session, "a");
    let standing = owner.enqueue(&held).await.expect("enqueue");
    assert!(matches!(standing, Standing::Granted { .. }), "{standing:?}");
    let renewed = other.renew(&stolen).await.expect("renew");
    if !stage.capabilities().checks_secrets {
        assert!(
            matches!(renewed, Renewal::Renewed { .. }),
            "expected that the secret does not matter, as the capabilities say"
        );
        return;
    }
    assert_eq!(
        renewed,
        Renewal::Expired,
        "expected a renewal to be refused"
    );
    let standing = other.enqueue(&stage.claim(stolen, "b")).await;
    assert_eq!(
        standing.expect("enqueue"),
        Standing::Gone {
            why: Gone::SessionLost
        },
        "expected a claim to be refused"
    );
    let claim = Claim {
        session: stolen,
        ..held.clone()
    };
    assert!(
        !update(&*other, &claim).await,
        "expected the value to be unchanged"
    );
    // Any outcome is allowed, if only the session and its claim continue.
    let _ = other.withdraw(&claim).await;
    let _ = other.close(&stolen).await;
    let renewed = owner.renew(&session).await.expect("renew");
    assert!(
        matches!(renewed, Renewal::Renewed { .. }),
        "expected the session to continue"
    );
    let queue = owner.queue(&held.name).await.expect("queue");
    let holders: Vec<_> = queue.holders().map(|entry| entry.claim).collect();
    assert_eq!(holders, [held.id], "expected the claim to be held");
}
