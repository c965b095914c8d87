//! U02, U60: large data in and out without copies of its own: a method borrows its arguments
//! straight from the message, its caller lends them without cloning, and a result is viewed where
//! it lies.

use std::time::{Duration, Instant};

use callboard::prelude::*;
use callboard::{Lent, Pending, View};

/// Readings of one sensor.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    sensor: String,
    readings: Vec<f64>,
    notes: Vec<Option<String>>,
}

/// Knows something about numbers and texts, and keeps one series.
pub struct Stats {
    unit: String,
    latest: Option<Series>,
}

#[actor]
impl Stats {
    /// A constructor borrows as methods do.
    pub fn new(unit: &str) -> Self {
        let unit = unit.to_owned();
        Self { unit, latest: None }
    }

    /// Borrowed: a text. It is checked once to be one, and read in the message.
    pub fn words(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    /// Borrowed: bytes.
    pub fn checksum(&self, bytes: &[u8]) -> u64 {
        bytes.iter().copied().map(u64::from).sum()
    }

    /// Borrowed: any message, as its archive has it. A number of several bytes has a byte order
    /// there, and `to_native` reads it.
    pub fn mean(&self, values: &Archived<Vec<f64>>) -> Option<f64> {
        let sum: f64 = values.iter().map(|value| value.to_native()).sum();
        (!values.is_empty()).then(|| sum / values.len() as f64)
    }

    /// Borrowed beside owned: the series is read where it lies, the limit is a number of our own.
    /// The borrow holds across waits.
    pub async fn alarms(&self, series: &Archived<Series>, limit: f64) -> Vec<String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let above = series
            .readings
            .iter()
            .zip(series.notes.iter())
            .filter(|(reading, _)| reading.to_native() > limit);
        above
            .map(|(reading, note)| {
                let note = note.as_ref().map_or("no note", |note| note.as_str());
                format!("{}: {reading} {} ({note})", series.sensor, self.unit)
            })
            .collect()
    }

    /// What is kept is owned: then it is copied out of the message, once.
    pub fn keep(&mut self, series: Series) {
        self.latest = Some(series);
    }

    pub fn latest(&self) -> Option<Series> {
        self.latest.clone()
    }
}

#[callboard::main]
async fn main() -> callboard::Result<()> {
    let unit = String::from("mV");
    let stats = Stats::spawn(&unit).await?;
    lending(&stats).await?;
    holding(&stats).await?;
    viewing(&stats).await?;
    measuring(&stats).await?;
    stats.shutdown().await
}

/// The proxy's methods borrow too: nothing is cloned to be sent.
async fn lending(stats: &StatsProxy) -> callboard::Result<()> {
    let text = "nothing here is copied more often than it has to be";
    assert_eq!(stats.words(text).await?, 11);
    assert_eq!(stats.checksum(&[7; 1000]).await?, 7000);
    let values: Vec<f64> = (0..1000).map(f64::from).collect();
    assert_eq!(stats.mean(&values).await?, Some(499.5));
    assert_eq!(stats.mean(&Vec::new()).await?, None);
    println!("lent: a text, bytes, {} numbers", values.len());

    let alarms = stats.alarms(&series(), 3.0).await?;
    assert_eq!(alarms, ["probe: 4.5 mV (hot)", "probe: 3.5 mV (no note)"]);
    println!("lent: a struct; what it says: {}", alarms.join(", "));
    Ok(())
}

/// A call holds what it borrows until it is sent; a started one has let go of it.
async fn holding(stats: &StatsProxy) -> callboard::Result<()> {
    let started: Vec<Pending<usize>> = ["one", "one two", "one two three"]
        .map(|text| {
            let gone_soon = text.to_owned();
            stats.words(&gone_soon).start()
        })
        .into();
    for (pending, count) in started.into_iter().zip(1..) {
        assert_eq!(pending.await?, count);
    }
    let text = String::from("a call that is handed on");
    let call: callboard::Call<'_, (Lent<'_, str>,), usize> = stats.words(&text);
    assert_eq!(call.timeout(Duration::from_secs(10)).await?, 6);
    println!("held: until sent, or started");
    Ok(())
}

/// A result in place: no value is made of it unless it is asked for.
async fn viewing(stats: &StatsProxy) -> callboard::Result<()> {
    assert!(stats.latest().view().await?.is_none());
    stats.keep(series()).await?;
    let latest: View<Option<Series>> = stats.latest().view().await?;
    let Some(seen) = latest.as_ref() else {
        panic!("it was kept")
    };
    assert_eq!(seen.sensor.as_str(), "probe");
    assert_eq!(seen.readings.len(), 3);
    // What is seen can be lent again, and the whole can become a value.
    assert_eq!(stats.words(&seen.sensor).await?, 1);
    assert_eq!(latest.deserialize()?, Some(series()));
    println!("viewed: {latest:?}");
    Ok(())
}

/// What it spares, on this machine: numbers that are cloned and owned, or lent and borrowed.
async fn measuring(stats: &StatsProxy) -> callboard::Result<()> {
    let values = vec![0.5; 1 << 16];
    let began = Instant::now();
    for _ in 0..20 {
        let series = Series {
            sensor: String::new(),
            readings: values.clone(),
            notes: Vec::new(),
        };
        stats.keep(series).await?;
    }
    let owned = began.elapsed() / 20;
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(stats.mean(&values).await?, Some(0.5));
    }
    let lent = began.elapsed() / 20;
    println!("512 KiB of numbers: {owned:?} a call if owned, {lent:?} if lent, and added up");
    Ok(())
}

fn series() -> Series {
    Series {
        sensor: "probe".into(),
        readings: vec![1.5, 4.5, 3.5],
        notes: vec![None, Some("hot".into()), None],
    }
}
