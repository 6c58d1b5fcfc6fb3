//! What a request costs before a byte of it is sent on: parse, rewrite, identify, judge.
//!
//! The peer of each is what it must be compared with: `httparse` alone for the head, a lock for
//! the view.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use highlander::base::time::Millis;
use highlander::logic::recognition::{Recognised, Recognition};
use highlander::logic::source::{Payload, SourceId, Weight, Who};
use highlander::logic::view::{Event, Heard, View};
use highlander::shared::state::{Seat, Seats};
use highlander::wire::http::head::{Head, header_room};
use highlander::wire::http::rewrite::Route;
use highlander::wire::http::target::Parameters;

const HEAD: &[u8] = b"POST /api/v1/write?highlander_weight=50 HTTP/1.1\r\n\
    Host: highlander:9091\r\nUser-Agent: Prometheus/3.5.0\r\nContent-Length: 32768\r\n\
    Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n\
    X-Prometheus-Remote-Write-Version: 0.1.0\r\nAccept-Encoding: gzip\r\n\r\n";

fn head(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse", |bencher| {
        bencher.iter(|| {
            let mut room = header_room();
            let head = Head::parse(black_box(HEAD), &mut room).expect("good").expect("whole");
            black_box(head.bytes)
        });
    });
    group.bench_function("httparse alone", |bencher| {
        bencher.iter(|| {
            let mut headers = [httparse::EMPTY_HEADER; 100];
            let mut request = httparse::Request::new(&mut headers);
            black_box(request.parse(black_box(HEAD)).expect("good"))
        });
    });
    let route =
        Route { host: b"storage:8428".to_vec(), instance: b"0123".to_vec(), ..Route::default() };
    group.bench_function("parse and rewrite", |bencher| {
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            let mut room = header_room();
            let head = Head::parse(black_box(HEAD), &mut room).expect("good").expect("whole");
            out.clear();
            route.append_head(&head, &mut out);
            black_box(out.len())
        });
    });
    group.finish();
}

fn identify(criterion: &mut Criterion) {
    let target = b"/api/v1/write?highlander_weight=50&highlander_source=prometheus-a";
    let address = SocketAddr::from(([10, 0, 0, 7], 40_000));
    let seats = Seats::new(1, 64);
    let mut group = criterion.benchmark_group("identify");
    group.throughput(Throughput::Elements(1));
    group.bench_function("the same target again", |bencher| {
        let known = target.to_vec();
        bencher.iter(|| black_box(known.as_slice()) == black_box(&target[..]));
    });
    group.bench_function("a new connection", |bencher| {
        let recognition = Recognition::default();
        bencher.iter(|| {
            let parameters = Parameters::read(black_box(target));
            let source = parameters.source.as_deref();
            let who = Who { user: None, cert: None, source, address, connection: 0 };
            let Recognised { name, weight, .. } = recognition.judge(&who, &parameters);
            let (_, source) =
                seats.attach(&Default::default(), &name, weight, address).expect("there is room");
            source.detach();
            black_box(source.id)
        });
    });
    group.finish();
}

/// Judges on this thread while a second one does the same, and the seat changes now and then.
fn judge(criterion: &mut Criterion) {
    let seats = Seats::new(2, 64);
    let seat = seats.seat(&Default::default()).expect("there is room");
    let address = SocketAddr::from(([10, 0, 0, 7], 40_000));
    let heard =
        Heard { source: SourceId(1), weight: Weight(50), address, payload: Payload::RemoteWrite };
    seat.on_event(Event::Heard(heard), Millis(0));
    let view = **seat.view();

    let mut group = criterion.benchmark_group("judge, 2 threads");
    group.throughput(Throughput::Elements(1));
    let shared = seat.clone();
    beside(
        move || black_box(of_seat(&shared)),
        || {
            group.bench_function("the seat (arc-swap)", |bencher| {
                bencher.iter(|| of_seat(black_box(&seat)));
            });
        },
    );
    let locked = Arc::new(RwLock::new(view));
    let shared = locked.clone();
    beside(
        move || black_box(of_view(&shared.read().expect("no panic"))),
        || {
            group.bench_function("peer: a RwLock", |bencher| {
                bencher.iter(|| of_view(&black_box(&locked).read().expect("no panic")));
            });
        },
    );
    let locked = Arc::new(Mutex::new(view));
    let shared = locked.clone();
    beside(
        move || black_box(of_view(&shared.lock().expect("no panic"))),
        || {
            group.bench_function("peer: a Mutex", |bencher| {
                bencher.iter(|| of_view(&black_box(&locked).lock().expect("no panic")));
            });
        },
    );
    group.finish();
}

fn of_seat(seat: &Seat) -> bool {
    of_view(&seat.view())
}

fn of_view(view: &View) -> bool {
    view.judge(SourceId(1), Weight(50), Payload::RemoteWrite)
        == highlander::logic::view::Fate::Forward
}

/// Runs `measure` while another thread does `work` over and over.
fn beside(work: impl Fn() -> bool + Send + Sync, measure: impl FnOnce()) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                work();
            }
        });
        measure();
        over.store(true, Ordering::Relaxed);
    });
}

criterion_group!(benches, head, identify, judge);
criterion_main!(benches);
