//! What it costs to make the lines of a page, and what a straightforward way with `serde_json::Value` costs beside it.
//!
//! `cargo bench` runs criterion on three shapes of resources, in pages of text and binary ones, with bytes of the page per second,
//! and then prints a table: CPU-seconds per GB, and allocations per resource. CPU time of this thread is measured, not time.
//! `-- --pages FILE` does it for pages in a file instead.

mod allocations;
mod cpu;
mod pages;
mod shapes;
mod ways;

use std::path::Path;

use azure_data_cosmos_driver::ResponseBody;
use criterion::{BenchmarkId, Criterion};

use cpu::CpuTime;
use shapes::Shape;

/// For the table each way reads so much of each shape, in bytes, and the best of some runs counts.
const INPUT: usize = 200_000_000;
const RUNS: usize = 5;

type Way = fn(&ResponseBody, &mut Vec<u8>) -> usize;
const WAYS: [(&str, Way); 2] = [("own", ways::own), ("serde_json::Value", ways::straight)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--pages") {
        return println!("{}", pages::measured(Path::new(&arguments[at + 1])));
    }
    let shapes = shapes::all();
    shapes.iter().for_each(prove);
    let mut criterion = Criterion::default().with_measurement(CpuTime).configure_from_args();
    for shape in &shapes {
        let mut group = criterion.benchmark_group(&shape.name);
        group.throughput(cpu::bytes(shape.size)).sample_size(20);
        for (name, way) in WAYS {
            group.bench_with_input(BenchmarkId::from_parameter(name), &shape.page, |bencher, page| {
                let mut out = Vec::new();
                bencher.iter(|| way(page, &mut out));
            });
        }
        group.finish();
    }
    criterion.final_summary();
    table(&shapes);
}

/// Both ways come to the same lines.
fn prove(shape: &Shape) {
    let (mut own, mut straight) = (Vec::new(), Vec::new());
    let rows = ways::own(&shape.page, &mut own);
    assert_eq!(ways::straight(&shape.page, &mut straight), rows);
    assert!(own == straight && !own.is_empty(), "{}: the lines differ", shape.name);
}

fn table(shapes: &[Shape]) {
    println!(
        "{:<16} {:>10} {:>12} {:>12} {:>10} {:>15} {:>8}",
        "shape", "bytes", "CPU-s/GB", "per GB out", "MB/s", "serde CPU-s/GB", "allocs"
    );
    for Shape { name, page, size } in shapes {
        let mut out = Vec::new();
        let rows = ways::own(page, &mut out);
        let lines = out.len();
        let pages = (INPUT / size).max(1);
        let mut cost = |pages: usize, way: Way| {
            let run = || {
                for _ in 0..pages {
                    way(page, &mut out);
                }
            };
            cpu::least(RUNS, run) / (pages * size) as f64 * 1e9
        };
        let (own, straight) = (cost(pages, ways::own), cost(pages.div_ceil(8), ways::straight));
        let per_output = own * *size as f64 / lines as f64;
        let allocations = allocations::during(|| {
            ways::own(page, &mut out);
        });
        let allocations = allocations as f64 / rows as f64;
        let (bytes, speed) = (lines / rows, 1000.0 / own);
        println!(
            "{name:<16} {bytes:>10} {own:>12.3} {per_output:>12.3} {speed:>10.0} {straight:>15.3} {allocations:>8.3}"
        );
    }
}
