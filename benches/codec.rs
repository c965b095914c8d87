//! The codec alone: values to archives in warm memory, and archives checked and copied out.

use std::hint::black_box;
use std::time::Duration;

use callboard::internals::{decode, encode};
use callboard::prelude::*;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};

/// A message of the usual kind: numbers, a name or two, a list.
#[message]
struct Order {
    id: u64,
    customer: u64,
    name: String,
    street: String,
    amounts: Vec<u32>,
    price: f64,
    discount: Option<f64>,
    is_paid: bool,
    priority: u8,
    placed_at: (u64, u32),
}

fn main() {
    callboard::init();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .configure_from_args();
    both_ways(&mut criterion, "u64", &7_u64);
    both_ways(&mut criterion, "64 bytes", &[7_u8; 64]);
    both_ways(&mut criterion, "10 fields", &order());
    for (name, len) in [("1 KiB", 1 << 10), ("64 KiB", 1 << 16), ("1 MiB", 1 << 20)] {
        both_ways(
            &mut criterion,
            &format!("vector of {name}"),
            &vec![7_u8; len],
        );
    }
    let strings: Vec<String> = (0..1000).map(|number| format!("string {number}")).collect();
    both_ways(&mut criterion, "1000 strings", &strings);
    criterion.final_summary();
}

fn order() -> Order {
    Order {
        id: 1,
        customer: 2,
        name: "somebody with a name".into(),
        street: "a street, a number".into(),
        amounts: (0..100).collect(),
        price: 12.5,
        discount: Some(0.1),
        is_paid: true,
        priority: 3,
        placed_at: (1, 2),
    }
}

fn both_ways<M: Message>(criterion: &mut Criterion, name: &str, message: &M) {
    let archive = encode(message, Aligned::new).expect("it can be archived");
    let mut group = criterion.benchmark_group(format!("codec/{name}"));
    group.throughput(Throughput::Bytes(archive.bytes().len() as u64));
    one_way(&mut group, message, &archive);
    group.finish();
}

fn one_way<M: Message>(group: &mut BenchmarkGroup<'_, WallTime>, message: &M, archive: &Aligned) {
    group.bench_function("encode", |bencher| {
        bencher.iter(|| encode(black_box(message), |bytes| bytes.len()));
    });
    group.bench_function("decode", |bencher| {
        bencher.iter(|| decode::<M>(black_box(archive.bytes())));
    });
}

/// An archive where archives begin: at a multiple of 16.
struct Aligned {
    bytes: Vec<u8>,
    begin: usize,
    len: usize,
}

impl Aligned {
    fn new(archive: &[u8]) -> Self {
        let mut bytes = vec![0; archive.len() + 16];
        let begin = bytes.as_ptr().align_offset(16);
        bytes[begin..begin + archive.len()].copy_from_slice(archive);
        Self {
            bytes,
            begin,
            len: archive.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.begin..self.begin + self.len]
    }
}
