//! `cargo bench --bench netlock`: the netlock server and client against a bare echo on the same
//! machine, in one run.
//!
//! The baseline is a tokio TCP echo of 64-byte frames with the same connections and frames in
//! flight. A pair is acquire + release of a free name: two frames each way. All sides run on
//! threads of this process with runtimes of their own. The sides of a comparison alternate, and the
//! table shows the median of their rounds.
//!
//! Arguments select sections. More sections need a program, and run only if they are selected.
//! `programs EARLIER LATER` compares two builds of netlockd, and `watchers EARLIER LATER` does so
//! for watchers of one name and for a long queue. `durable EARLIER LATER` compares them with data
//! folders. `stalls EARLIER LATER` measures how long a good client waits while something large
//! happens; without programs, the section measures visits to the table. `crowd NETLOCKD` connects
//! ten thousand misbehaving clients to one. `visits NETLOCKD [EARLIER]` and `busy NETLOCKD
//! [EARLIER]` vary the requests in flight and the connections, `features NETLOCKD` adds TLS,
//! tokens, metrics and a data folder, and `workers NETLOCKD` compares one worker with two. `growth
//! EARLIER LATER [PLOT.svg]` compares what a pair costs while many locks are held and many
//! connections are busy, and draws a plot.

mod api;
mod bare;
mod busy;
mod client;
mod crowd;
mod durable;
mod echo;
mod expiry;
mod features;
mod flood;
mod growth;
mod hand_over;
mod kept;
mod memory;
mod plot;
mod programs;
mod raw;
mod redis;
mod side;
mod stalls;
mod visits;
mod watchers;
mod workers;

use std::time::Duration;

use api::End;

/// The number of rounds of each side of a comparison.
const ROUNDS: usize = 5;
/// The duration of one round.
const ROUND: Duration = Duration::from_millis(700);

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if let [section, paths @ ..] = &wanted[..] {
        match (&**section, paths) {
            ("programs", [earlier, later]) => return programs::table(earlier, later),
            ("watchers", [earlier, later]) => return watchers::table(earlier, later),
            ("durable", [earlier, later]) => return durable::table(earlier, later),
            ("stalls", [earlier, later]) => return stalls::table(earlier, later),
            ("crowd", [netlockd]) => return crowd::table(netlockd),
            ("visits", [_, ..]) => return visits::table(paths),
            ("busy", [_, ..]) => {
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                busy::table(&paths);
                return;
            }
            ("echo-server", []) => return echo::program(),
            ("growth", [earlier, later, plot @ ..]) => {
                return growth::table(earlier, later, plot.first().map(String::as_str));
            }
            ("features", [netlockd]) => return features::table(netlockd),
            ("workers", [netlockd]) => return workers::table(netlockd),
            _ => {}
        }
    }
    if let [place] = &wanted[..]
        && place == client::ON_ONE_CORE
    {
        return client::rows("one core");
    }
    let section = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    println!(
        "netlock, {} cores, median of {ROUNDS} rounds of {ROUND:?}\n",
        side::cores()
    );
    if section("server") {
        server();
    }
    if section("api") {
        through_the_api();
    }
    if section("client") {
        client::table();
    }
    if section("handover") {
        hand_over::table();
    }
    if section("expiry") {
        expiry::table();
    }
    if section("memory") {
        memory::table();
    }
    if section("kept") {
        kept::table();
    }
    if section("stalls") {
        stalls::visits();
    }
    if section("flood") {
        flood::table();
    }
}

fn server() {
    println!("server, raw protocol        echo frames/s   pairs/s   2 x pairs / frames   wanted");
    for (connections, window, wanted) in [(1, 1, 0.9), (1, 256, 0.6), (16, 16, 0.75)] {
        let (echo, pairs) = side::interleaved(
            || {
                side::serving(echo::serve, |address| {
                    echo::load(address, connections, window, ROUND)
                })
            },
            || {
                side::serving(raw::serve, |address| {
                    raw::load(address, connections, window, ROUND)
                })
            },
        );
        println!(
            "{connections:>4} x {window:<4}               {echo:>13.0} {pairs:>9.0} {:>20.2} {wanted:>8}",
            2.0 * pairs / echo
        );
    }
    println!();
}

fn through_the_api() {
    println!(
        "public API, one handle      echo frames/s   pairs/s   2 x pairs / frames   wanted   2 workers: of that   wanted"
    );
    for (tasks, wanted) in [(1, 0.9), (64, 0.6), (256, 0.35)] {
        let mut workers = Vec::new();
        let (echo, pairs) = side::interleaved(
            || side::serving(echo::serve, |address| echo::load(address, 1, tasks, ROUND)),
            || {
                workers.push(side::serving(raw::serve, |address| {
                    api::load(address, tasks, ROUND, 2, End::Release)
                }));
                side::serving(raw::serve, |address| {
                    api::load(address, tasks, ROUND, 1, End::Release)
                })
            },
        );
        let workers = side::median(workers);
        println!(
            "{tasks:>4} tasks                 {echo:>13.0} {pairs:>9.0} {:>20.2} {wanted:>8} {:>20.2} {:>8}",
            2.0 * pairs / echo,
            workers / pairs,
            if tasks == 1 { "-" } else { "0.6" }
        );
    }
    println!();
}
