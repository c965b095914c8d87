//! callboard beside its peers, in turn, in one run.
//!
//! ```text
//! cargo run --release -- [--quick] [--rounds N] [--only NAME].. [--out FOLDER]
//!                        [--pin A,B | --same-core | --unpinned]
//! cargo run --release -- pools [--quick] [--rounds N] [--out FOLDER]
//! cargo run --release -- payload ..                    large payloads by their size
//! cargo run --release -- network ..                    calls over TCP
//! ```
//!
//! Each round takes every case, and each case every subject, so that whatever the machine does
//! during the run meets all of them. A round of a subject lasts a fixed time after a warm-up; its
//! p50 and p99 are one figure, and the table gives the median over the rounds with the quartiles.
//! A round in which another process took a core is run again, at most twice.
//!
//! The same program is also the second process of every subject (`stage`).

mod goals;
mod machine;
mod meter;
mod network;
mod options;
mod payload;
mod plot;
mod pools;
mod report;
mod stage;
mod subject;
mod subjects;
mod watchdog;

use std::env;
use std::fs;

use crate::meter::{Figure, Meter};
use crate::options::{Options, What};
use crate::report::{Record, Report};
use crate::stage::{Cores, Stage};
use crate::subject::{Case, Outcome, Subject, Waiting};
use crate::watchdog::Watchdog;

/// How often a round is run until nobody disturbs it.
const ATTEMPTS: u32 = 3;

/// Share of a round that another process may have before the round is thrown away.
const DISTURBANCE_MAX: f64 = 0.05;

fn main() -> Outcome {
    // In the process of an actor this does not return.
    callboard::init();
    let mut subjects = subject::all();
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some((stage::SERVE, rest)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        subjects.extend(payload::peers());
        subjects.extend(network::peers());
        return stage::serve(&subjects, rest);
    }
    if let Some((pools::POOLS, rest)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        return pools::main(rest);
    }
    let Some(options) = Options::parse()? else {
        return Ok(());
    };
    let stage = Stage::new(options.cores)?;
    match options.what {
        What::Calls => {}
        What::Payload => return payload::run(&options, &stage),
        What::Network => return network::run(&options, &stage),
    }
    let records = run(&options, &subjects, &stage)?;
    if records.is_empty() {
        return Err("no subject fits what --only names".into());
    }
    let report = Report::new(&options, &subjects, records);
    let markdown = report.markdown();
    println!("{markdown}");
    fs::create_dir_all(&options.out)?;
    fs::write(options.out.join("comparison.md"), &markdown)?;
    fs::write(options.out.join("comparison.csv"), report.csv())?;
    plot::draw(&report, &options.out.join("comparison.svg"))?;
    eprintln!("written to {}", options.out.display());
    Ok(())
}

/// All rounds, in turn.
fn run(options: &Options, subjects: &[Box<dyn Subject>], stage: &Stage) -> Outcome<Vec<Record>> {
    let watchdog = Watchdog::start();
    let mut meter = Meter::new(options.warm, options.span);
    let mut records = Vec::new();
    for round in 0..options.rounds {
        for case in Case::ALL {
            eprint!("round {}/{} {}:", round + 1, options.rounds, case.key());
            for place in 0..subjects.len() {
                // Every second round backwards: nobody always follows the same neighbour.
                let index = if round % 2 == 0 {
                    place
                } else {
                    subjects.len() - 1 - place
                };
                let subject = subjects[index].as_ref();
                let Some(waiting) = fitting(options, subject, case) else {
                    continue;
                };
                watchdog.guard(subject.name(), case.key());
                let (figure, is_disturbed) = measure(subject, case, waiting, stage, &mut meter)
                    .map_err(|error| format!("{} {}: {error}", subject.name(), case.key()))?;
                let mark = if is_disturbed { "!" } else { "" };
                eprint!(" {} {:.0}{mark}", subject.name(), figure.p50);
                records.push(Record {
                    round,
                    case,
                    subject: index,
                    figure,
                    is_disturbed,
                });
            }
            eprintln!();
        }
    }
    Ok(records)
}

/// How the subject waits in this case, if it is wanted and makes sense on these cores.
fn fitting(options: &Options, subject: &dyn Subject, case: Case) -> Option<Waiting> {
    let waiting = subject.waiting(case)?;
    let starves = waiting == Waiting::Polls && options.cores.are_one();
    (options.wants(subject.name(), case) && !starves).then_some(waiting)
}

/// One round of one subject, again if somebody disturbed it. The flag says that the last attempt
/// was disturbed too.
fn measure(
    subject: &dyn Subject,
    case: Case,
    waiting: Waiting,
    stage: &Stage,
    meter: &mut Meter,
) -> Outcome<(Figure, bool)> {
    let mut attempt = 1;
    loop {
        meter.prepare(case.pause());
        subject.round(case, stage, meter)?;
        let figure = meter.take().ok_or("the round gave no figure")?;
        let is_disturbed = is_disturbed(&figure, case, waiting, stage.cores);
        if !is_disturbed || attempt == ATTEMPTS {
            return Ok((figure, is_disturbed));
        }
        attempt += 1;
    }
}

/// Whether another process had a core that one of both sides wanted.
fn is_disturbed(figure: &Figure, case: Case, waiting: Waiting, cores: Cores) -> bool {
    // A side that never sleeps uses as much CPU time as passes. This also shows what a
    // hypervisor takes away, which the kernel's count of waiting does not.
    let never_sleeps = match waiting {
        Waiting::OneThread => true,
        Waiting::Polls => case.is_round_trip(),
        Waiting::Parks | Waiting::Adapts => false,
    };
    let used_min = figure
        .cpu_there
        .map_or(figure.cpu_here, |there| there.min(figure.cpu_here));
    let takes_turns = cores.are_one() && waiting != Waiting::OneThread;
    (never_sleeps && used_min < 1.0 - DISTURBANCE_MAX)
        || (!takes_turns && figure.waited > DISTURBANCE_MAX)
}
