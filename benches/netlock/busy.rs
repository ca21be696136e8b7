//! The cost of many busy connections, each with one request in flight:
//! `cargo bench --bench netlock -- busy NETLOCKD [EARLIER]`, with the paths of one or two builds.
//! `NETLOCKD_WORKERS=1` in front of it compares servers with one thread, as the echo is.

use std::net::SocketAddr;

use super::programs::Program;
use super::side::{self, medians};
use super::{ROUND, echo, raw};

const CONNECTIONS: [usize; 4] = [100, 1_000, 5_000, 10_000];
const ROUNDS: usize = 3;

/// What a pair costs the server, in microseconds.
pub(crate) struct Costs {
    pub(crate) connections: usize,
    /// Two frames of the bare echo.
    echo: f64,
    pub(crate) programs: Vec<f64>,
}

pub(crate) fn table(paths: &[&str]) -> Vec<Costs> {
    side::allow_many_connections();
    println!(
        "busy connections          us of the server a pair   of a hundred   wanted   two frames of the echo   of a hundred        earlier   of a hundred"
    );
    let mut all: Vec<Costs> = Vec::new();
    for connections in CONNECTIONS {
        let costs = measure(paths, connections);
        let first = all.first().unwrap_or(&costs);
        print!(
            "{connections:>6} {:>42.2} {:>14.2} {:>8} {:>24.2} {:>14.2}",
            costs.programs[0],
            costs.programs[0] / first.programs[0],
            "1.3",
            costs.echo,
            costs.echo / first.echo,
        );
        if let [_, earlier] = costs.programs[..] {
            print!(" {earlier:>14.2} {:>14.2}", earlier / first.programs[1]);
        }
        println!();
        all.push(costs);
    }
    println!();
    all
}

fn measure(paths: &[&str], connections: usize) -> Costs {
    let mut echoed = Vec::new();
    let mut served = vec![Vec::new(); paths.len()];
    for _ in 0..ROUNDS {
        let program = Program::echo();
        let address = program.address.parse().expect("an address");
        let run = echo::measured(address, connections, 1, ROUND, || program.cpu());
        echoed.push(run.round());
        drop(program);
        for (path, rounds) in paths.iter().zip(&mut served) {
            let program = Program::start(path, &[]);
            let address: SocketAddr = program.address.parse().expect("an address");
            let run = raw::measured(address, connections, 1, ROUND, || program.cpu());
            rounds.push(run.round());
        }
    }
    Costs {
        connections,
        echo: 2.0 * medians(&echoed).1,
        programs: served.iter().map(|rounds| medians(rounds).1).collect(),
    }
}
