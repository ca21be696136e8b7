//! A log on a disk that loses what was not synced, when the power fails.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::*;

/// Set for the process that writes: the folder of the log.
const FOLDER: &str = "LOSING_LOG";
/// A log with this limit is replaced often.
const LOG_BYTES: u64 = 3_000;
/// How many entries before a purged one are kept.
const KEPT: u64 = 7;

/// What the writing process reports once it is acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    vote: Option<u64>,
    entry: Option<u64>,
    purged: Option<u64>,
}

/// The process that writes. It is part of the next test, and does nothing by itself.
#[tokio::test]
async fn writes_until_the_power_fails() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let (mut log, _) =
        NodeLog::open(&PathBuf::from(folder), CLUSTER, LOG_BYTES, failure()).unwrap();
    let report = |what: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {what} {number}").unwrap();
        out.flush().unwrap();
    };
    let next = log.get_log_state().await.unwrap().last_log_id;
    for index in next.map_or(0, |last| last.index + 1).. {
        log.blocking_append([changes(1, index)]).await.unwrap();
        report("entry", index);
        if index % 3 == 0 {
            log.save_vote(&Vote::new(index, 1)).await.unwrap();
            report("vote", index);
        }
        if index % 20 == 19 {
            log.purge(log_id(1, 1, index - KEPT)).await.unwrap();
            report("purged", index - KEPT);
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_failure() {
    let place = tempfile::tempdir().unwrap();
    let (data, kept) = (place.path().join("data"), place.path().join("kept"));
    fs::create_dir(&kept).unwrap();
    let library = place.path().join("library.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/losing_disk.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-D_FILE_OFFSET_BITS=64", "-o"]);
    assert!(
        compiler
            .arg(&library)
            .arg(source)
            .status()
            .unwrap()
            .success()
    );
    let mut seen = Acknowledged::default();
    for run in 1..=3_u32 {
        let boot = place.path().join("boot");
        fs::write(&boot, format!("{run:032x}")).unwrap();
        let test = "cluster::raft::log::tests::losing_disk::writes_until_the_power_fails";
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(FOLDER, &data)
            .env("LD_PRELOAD", &library)
            .env("LOSING_DISK", &kept)
            .env("LOSING_BOOT", &boot)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let mut reports = 0;
        // The writer is killed in the middle of its work. What it reported before that counts.
        for line in lines {
            let line = line.unwrap();
            let Some((what, number)) = line
                .split_once("acknowledged ")
                .and_then(|(_, report)| report.split_once(' '))
            else {
                continue;
            };
            let number = Some(number.parse::<u64>().unwrap());
            match what {
                "vote" => seen.vote = number,
                "entry" => seen.entry = number,
                _ => seen.purged = number,
            }
            reports += 1;
            if reports == 60 * run {
                writer.kill().unwrap();
            }
        }
        assert!(
            reports >= 60 * run,
            "the writer ended by itself after {reports} reports"
        );
        writer.wait().unwrap();
        lose_power(&data, &kept);
        let (mut log, _) = open(&data, u128::MAX).unwrap();
        let found = said(&mut log).await;
        drop(log);
        lose_nothing(&data, &kept);
        assert!(
            found.vote.map(|vote| vote.leader_id.term) >= seen.vote,
            "{seen:?}: {:?}",
            found.vote
        );
        let last = found.entries.last().map(|entry| entry.log_id.index);
        assert!(last >= seen.entry, "{seen:?}: {last:?}");
        assert!(
            found.purged.map(|id| id.index) >= seen.purged,
            "{seen:?}: {:?}",
            found.purged
        );
        let first = found.purged.map_or(0, |purged| purged.index + 1);
        let indexes: Vec<_> = found
            .entries
            .iter()
            .map(|entry| entry.log_id.index)
            .collect();
        let expected: Vec<_> = (first..=last.unwrap()).collect();
        assert_eq!(indexes, expected, "no entry is missing");
    }
}

/// Leaves only what was synced, names of files included.
fn lose_power(data: &Path, kept: &Path) {
    let entries = fs::read_to_string(kept.join("entries")).unwrap();
    let files: Vec<_> = entries
        .lines()
        .map(|line| {
            let (inode, name) = line.split_once(' ').unwrap();
            (name, fs::read(kept.join(inode)).unwrap_or_default())
        })
        .collect();
    fs::remove_dir_all(data).unwrap();
    fs::create_dir(data).unwrap();
    for (name, bytes) in files {
        fs::write(data.join(name), bytes).unwrap();
    }
}

/// Makes the disk keep what is in the folder now.
fn lose_nothing(data: &Path, kept: &Path) {
    use std::os::unix::fs::MetadataExt;

    let mut entries = String::new();
    for entry in fs::read_dir(data).unwrap() {
        let entry = entry.unwrap();
        let inode = entry.metadata().unwrap().ino();
        fs::copy(entry.path(), kept.join(inode.to_string())).unwrap();
        entries += &format!("{inode} {}\n", entry.file_name().to_str().unwrap());
    }
    fs::write(kept.join("entries"), entries).unwrap();
}
