//! Members whose disks hang: a sync does not return.

use std::process::Command;
use std::time::Duration;

use distsync_core::spi::clock;
use distsync_core::{Guard, Sync};
use rustix::process::Signal;

use super::super::losing_disk::LosingDisk;
use super::super::server::{NETLOCKD, acquire};
use super::faults::{granted, waiters};
use super::members::Members;

const TTL: Duration = Duration::from_secs(8);

/// Restarts a member on a disk that can hang.
fn move_to(disk: &LosingDisk, members: &Members, member: usize) {
    assert!(members.slot(member).take().unwrap().end(Signal::TERM));
    let mut command = Command::new(NETLOCKD);
    disk.put_under(&mut command);
    members.arguments(member, &members.folder(member), &mut command);
    members.spawn(member, command);
}

fn hang(disk: &LosingDisk, is_hanging: bool) {
    let mark = disk.path("kept").join("hangs");
    if is_hanging {
        std::fs::write(mark, "").unwrap();
    } else {
        std::fs::remove_file(mark).unwrap();
    }
}

/// Waits until a member whose disk hangs has ended, and starts it again on a good disk.
fn replace_disk(disk: &LosingDisk, members: &Members, member: usize) {
    let mut ended = members.slot(member).take().unwrap();
    assert!(!ended.ended().success());
    let logged = ended.logged();
    assert!(
        logged.contains("the disk of the data folder hangs"),
        "{logged}"
    );
    hang(disk, false);
    members.start_one(member);
}

/// Releases locks that must all be held still.
async fn release_all<const N: usize>(guards: [Guard; N]) {
    for guard in guards {
        guard.check(Duration::ZERO).unwrap();
        guard.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_is_replaced_and_holds_up_nobody() {
    let members = Members::start();
    let disks: Vec<_> = members.all().map(|_| LosingDisk::new("fsync")).collect();
    for member in members.all() {
        members.leader().await;
        move_to(&disks[member], &members, member);
    }
    let leader = members.leader().await;
    let client = members.connect(TTL).await;
    let held = acquire(&client, "held").await;

    hang(&disks[leader], true);
    let hung = clock::now();
    let next = granted(&client, "next").await;
    let took = clock::now().since(hung);
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert!(next.token() > held.token());
    assert!(!members.leads(leader), "two leaders");
    held.check(Duration::ZERO).unwrap();
    replace_disk(&disks[leader], &members, leader);

    // It has to follow: the cluster has no majority without it.
    members.kill((leader + 1) % 3);
    let last = granted(&client, "last").await;
    assert!(last.token() > next.token());
    assert_eq!(waiters(&client, "held").await, 1);
    release_all([held, next, last]).await;
    client.close().await.unwrap();
    members.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_hangs_holds_up_nobody() {
    let members = Members::start();
    let leader = members.leader().await;
    let (hung, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let disk = LosingDisk::new("fsync");
    move_to(&disk, &members, hung);
    let client = members.connect(TTL).await;
    let held = acquire(&client, "held").await;

    hang(&disk, true);
    let began = clock::now();
    for _ in 0..50 {
        acquire(&client, "a").await.release().await.unwrap();
    }
    let took = clock::now().since(began);
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(members.leads(leader), "it leads on");
    replace_disk(&disk, &members, hung);

    members.kill(other);
    let next = granted(&client, "next").await;
    assert!(next.token() > held.token());
    members.start_one(other);
    members.kill(leader);
    // One of the two leads: what the hung member knows is not less.
    let last = granted(&client, "last").await;
    assert!(last.token() > next.token());
    assert_eq!(waiters(&client, "held").await, 1);
    release_all([held, next, last]).await;
    client.close().await.unwrap();
    members.stop();
}
