//! How late an expired session ends, measured by the grant of the next waiter.

use std::net::SocketAddr;
use std::time::Duration;

use distsync_core::conformance::bare;
use distsync_core::spi::clock::{self, Moment};
use distsync_core::spi::{Session, Standing};
use distsync_core::{Kind, LockName, Namespace};
use distsync_netlock::{Client, Config};

use super::{raw, side};

const SAMPLES: u32 = 30;
const TTL: Duration = Duration::from_millis(150);

pub(crate) fn table() {
    let late: Vec<f64> = side::serving(raw::serve, lateness);
    let millis = |late: f64| late * 1e3;
    println!(
        "expiry, {SAMPLES} sessions of {TTL:?}      earliest      median      latest   wanted"
    );
    println!(
        "                               {:>+9.1} ms {:>+8.1} ms {:>+8.1} ms   0 to 20 ms\n",
        millis(late.iter().copied().fold(f64::MAX, f64::min)),
        millis(side::median(late.clone())),
        millis(late.iter().copied().fold(f64::MIN, f64::max)),
    );
}

/// Returns the seconds from the end of each session to the next grant. The TTL is counted from the
/// reply to the opening. The server began to count a little earlier, so that an early end is
/// visible.
fn lateness(address: SocketAddr) -> Vec<f64> {
    side::runtime().block_on(async {
        let backend =
            Client::new(Config::new([address.to_string()]).expect("an address")).backend();
        let open = async |ttl: Duration| -> (Session, Moment) {
            (
                backend.open(&bare::spec(ttl)).await.expect("a session"),
                clock::now(),
            )
        };
        let name = LockName::new(&Namespace::default(), Kind::Lock, "a").expect("a name");
        let claim = |session: Session| bare::claim(session, name.clone());
        let (waiting, _) = open(Duration::from_secs(60)).await;
        let mut late = Vec::new();
        for _ in 0..SAMPLES {
            let (dying, opened) = open(TTL).await;
            backend
                .enqueue(&claim(dying))
                .await
                .expect("the first holds");
            let next = claim(waiting);
            assert!(matches!(
                backend.enqueue(&next).await,
                Ok(Standing::Waiting { .. })
            ));
            assert!(matches!(
                backend.granted(&next).await,
                Ok(Standing::Granted { .. })
            ));
            late.push(clock::now().since(opened).as_secs_f64() - TTL.as_secs_f64());
            backend.withdraw(&next).await.expect("released");
        }
        late
    })
}
