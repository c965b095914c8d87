//! What the command line asks for.

use std::path::PathBuf;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};

use crate::stage::Cores;
use crate::subject::{Case, Outcome};

const HELP: &str = "\
callboard beside its peers; `pools` first: pools of actors beside others

  payload       large payloads by their size, instead of calls
  network       calls over TCP instead
  --quick       3 rounds of 50 ms instead of 10 of 150 ms
  --rounds N    so many rounds
  --only NAME   this subject or case, or way of bringing a payload or of
                calling over TCP, only; may be repeated
  --pin A,B     this process on core A, the second one on core B (default: the first two)
  --same-core   both on one core
  --unpinned    wherever the kernel likes
  --out FOLDER  where comparison.md, .csv and .svg go (default: results beside Cargo.toml)";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Calls on one machine.
    Calls,
    /// Large payloads by their size.
    Payload,
    /// Calls over TCP.
    Network,
}

pub struct Options {
    pub rounds: u32,
    pub warm: Duration,
    pub span: Duration,
    pub cores: Cores,
    pub out: PathBuf,
    pub what: What,
    /// Names of subjects, keys of cases, names of ways; empty means all.
    only: Vec<String>,
}

impl Options {
    /// Reads the command line. `None` if it asked for help only.
    pub fn parse() -> Outcome<Option<Self>> {
        let mut rounds = None;
        let mut is_quick = false;
        let mut options = Self {
            rounds: 10,
            warm: Duration::from_millis(30),
            span: Duration::from_millis(150),
            cores: Cores::first_two()?,
            out: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/results")),
            what: What::Calls,
            only: Vec::new(),
        };
        let mut parser = Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("quick") => is_quick = true,
                Arg::Long("rounds") => rounds = Some(parser.value()?.parse()?),
                Arg::Long("only") => options.only.push(parser.value()?.string()?),
                Arg::Long("pin") => options.cores = pair(&parser.value()?.string()?)?,
                Arg::Long("same-core") => options.cores = same(options.cores),
                Arg::Long("unpinned") => options.cores = Cores::Unpinned,
                Arg::Long("out") => options.out = parser.value()?.into(),
                // `cargo bench` adds this one.
                Arg::Long("bench") => {}
                Arg::Value(what) if what == "payload" => options.what = What::Payload,
                Arg::Value(what) if what == "network" => options.what = What::Network,
                Arg::Long("help") | Arg::Short('h') => {
                    println!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(argument.unexpected().into()),
            }
        }
        if is_quick {
            options.rounds = 3;
            options.warm = Duration::from_millis(15);
            options.span = Duration::from_millis(50);
        }
        options.rounds = rounds.unwrap_or(options.rounds).max(1);
        Ok(Some(options))
    }

    /// Whether this subject is to be measured in this case. With names of subjects and of cases,
    /// both must fit.
    pub fn wants(&self, subject: &str, case: Case) -> bool {
        let (cases, subjects): (Vec<&String>, Vec<&String>) = self
            .only
            .iter()
            .partition(|name| Case::from_key(name).is_some());
        let fits = |names: &[&String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted.as_str() == name)
        };
        fits(&cases, case.key()) && fits(&subjects, subject)
    }

    /// Whether a way of bringing payloads, or of calling over TCP, is to be measured.
    pub fn wants_way(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }

    /// How the sides are placed, for the report.
    pub fn placement(&self) -> String {
        match self.cores {
            Cores::Pinned(here, there) if here == there => format!("both on core {here}"),
            Cores::Pinned(here, there) => format!("pinned to cores {here} and {there}"),
            Cores::Unpinned => "not pinned".to_owned(),
        }
    }
}

fn pair(text: &str) -> Outcome<Cores> {
    let (here, there) = text.split_once(',').ok_or("--pin wants two cores: 0,1")?;
    Ok(Cores::Pinned(here.trim().parse()?, there.trim().parse()?))
}

fn same(cores: Cores) -> Cores {
    match cores {
        Cores::Pinned(here, _) => Cores::Pinned(here, here),
        Cores::Unpinned => Cores::Unpinned,
    }
}
