//! Made-up requests for tests, benches of whole programs and simulations: everything the two
//! versions of remote write allow, and what no sender does but a receiver must bear.

use super::protobuf::{put_bytes, put_double, put_int64, put_varint};
use super::protocol::{Point, Protocol};
use super::reference::Labels;

/// The value of a sample that says that its series has ended.
pub const STALE_MARKER: u64 = 0x7ff0_0000_0000_0002;

/// Numbers that look random and are the same for each seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// A number below `end`, which is above 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// A series as it is to be written.
#[derive(Clone, Debug, Default)]
pub struct MadeSeries {
    /// Its label pairs, in the order in which they are written.
    pub labels: Labels,
    /// Its points: what, when, and the bits of the value.
    pub points: Vec<(Point, i64, u64)>,
}

/// Up to `series_max` series, some of them more than once.
pub fn make_series(random: &mut Random, series_max: u64) -> Vec<MadeSeries> {
    (0..random.below(series_max + 1)).map(|_| make_one(random)).collect()
}

fn make_one(random: &mut Random) -> MadeSeries {
    let mut series = MadeSeries { labels: make_labels(random), points: Vec::new() };
    let count = random.one_of(&[0, 1, 1, 1, 1, 1, 2, 3, 5]);
    let mixed = random.once_in(3);
    let point = random.one_of(&[Point::Sample, Point::Sample, Point::Histogram, Point::Exemplar]);
    for _ in 0..count {
        let point = match mixed {
            true => random.one_of(&[Point::Sample, Point::Histogram, Point::Exemplar]),
            false => point,
        };
        let near = 1_700_000_000_000 + random.below(8) as i64;
        let timestamp_ms = match random.below(20) {
            0 => random.one_of(&[0, 1, -1, i64::MIN, i64::MAX, 1 << 40]),
            _ => near,
        };
        let noise = random.draw();
        let bits = random.one_of(&[STALE_MARKER, 1.5_f64.to_bits(), 0, 1 << 63, noise]);
        series.points.push((point, timestamp_ms, bits));
    }
    series
}

/// Labels from a small world, so that series meet again; one in ten is strange.
fn make_labels(random: &mut Random) -> Labels {
    let long = "long ".repeat(40);
    let names = ["__name__", "a", "instance", "job", "namespace", "node", "pod", "prometheus"];
    let pick = random.draw();
    let mut labels = Labels::new();
    for (index, name) in names.iter().enumerate().filter(|(index, _)| pick >> index & 1 == 0) {
        let value = format!("{name}-{}", pick >> (8 + index) & 1);
        labels.push((name.as_bytes().to_vec(), value.into_bytes()));
    }
    if random.once_in(10) {
        let strange: [(&str, &str); 7] = [
            ("prometheus_replica", "replica"),
            ("prometheus", "twice"),
            ("zone", ""),
            ("", "nameless"),
            ("zone", &long),
            (&long, "long"),
            ("zone\0", "zero"),
        ];
        let (name, value) = random.one_of(&strange);
        labels.push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    }
    if random.once_in(6) {
        // Around the sizes that are copied as a whole.
        let text = |length: u64| "zyxwvutsrqponmlkjihgfedcba".bytes().cycle().take(length as usize);
        let name = text(random.one_of(&[1, 8, 31, 32, 33, 59]));
        labels.push((name.collect(), text(random.one_of(&[1, 32, 33, 64, 65, 120])).collect()));
    }
    if random.once_in(8) && !labels.is_empty() {
        let turn = random.below(labels.len() as u64) as usize;
        labels.rotate_left(turn);
    }
    labels
}

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As a Prometheus does.
    Plain,
    /// With unknown fields, parts in an unusual order, and numbers in more bytes than they need.
    Strange,
}

/// Writes a request.
pub fn write(protocol: Protocol, all: &[MadeSeries], style: Style, random: &mut Random) -> Vec<u8> {
    let mut writer = Writer { protocol, style, random, symbols: vec![Vec::new()] };
    let mut parts: Vec<Vec<u8>> = all.iter().map(|series| writer.series(series)).collect();
    writer.unknown(&mut parts);
    let mut symbols = Vec::new();
    if protocol == Protocol::V2 {
        for symbol in std::mem::take(&mut writer.symbols) {
            let mut part = Vec::new();
            writer.put(&mut part, 4, &symbol);
            symbols.push(part);
        }
    } else if writer.random.once_in(6) {
        let mut part = Vec::new();
        put_bytes(&mut part, 3, b"\x08\x01\x12\x02up\x22\x04help");
        parts.push(part);
    }
    let symbols_at = match writer.strange(4) {
        true => writer.random.below(parts.len() as u64 + 1) as usize,
        false => 0,
    };
    parts.splice(symbols_at..symbols_at, symbols);
    parts.concat()
}

struct Writer<'r> {
    protocol: Protocol,
    style: Style,
    random: &'r mut Random,
    symbols: Vec<Vec<u8>>,
}

impl Writer<'_> {
    fn strange(&mut self, times: u64) -> bool {
        self.style == Style::Strange && self.random.once_in(times)
    }

    fn series(&mut self, series: &MadeSeries) -> Vec<u8> {
        let mut fields = match self.protocol {
            Protocol::V1 => self.labels_v1(&series.labels, 1),
            Protocol::V2 => self.references(&series.labels, 1),
        };
        let labels = fields.len();
        for (point, timestamp_ms, bits) in &series.points {
            let message = self.point(*point, *timestamp_ms, *bits);
            let number = match (point, self.protocol) {
                (Point::Sample, _) => 2,
                (Point::Exemplar, Protocol::V1) | (Point::Histogram, Protocol::V2) => 3,
                (Point::Exemplar, Protocol::V2) | (Point::Histogram, Protocol::V1) => 4,
            };
            let mut field = Vec::new();
            self.put(&mut field, number, &message);
            fields.push(field);
        }
        if self.protocol == Protocol::V2 && self.random.once_in(2) {
            let mut metadata = Vec::new();
            put_bytes(&mut metadata, 5, b"\x08\x01\x18\x00");
            put_int64(&mut metadata, 6, 1_600_000_000_000);
            fields.push(metadata);
        }
        if self.strange(5) {
            // The labels, or some of them, after points. References belong together in order.
            let some = self.random.below(labels as u64 + 1) as usize;
            fields.rotate_left(if self.protocol == Protocol::V1 { some } else { labels });
        }
        self.unknown(&mut fields);
        let mut part = Vec::new();
        let number = if self.protocol == Protocol::V1 { 1 } else { 5 };
        self.put(&mut part, number, &fields.concat());
        part
    }

    fn labels_v1(&mut self, labels: &Labels, number: u32) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        for (name, value) in labels {
            let mut parts = Vec::new();
            for (number, text) in [(1, name), (2, value)] {
                // A Prometheus leaves out what is empty, others do not.
                if !text.is_empty() || self.strange(2) {
                    let mut part = Vec::new();
                    self.put(&mut part, number, text);
                    parts.push(part);
                }
            }
            if self.strange(20) {
                parts.reverse();
            }
            self.unknown(&mut parts);
            let mut field = Vec::new();
            self.put(&mut field, number, &parts.concat());
            fields.push(field);
        }
        fields
    }

    fn references(&mut self, labels: &Labels, number: u32) -> Vec<Vec<u8>> {
        let texts: Vec<&Vec<u8>> = labels.iter().flat_map(|(name, value)| [name, value]).collect();
        let mut numbers: Vec<u64> = texts.iter().map(|text| self.symbol(text)).collect();
        let mut fields = Vec::new();
        if self.strange(5) && !numbers.is_empty() {
            let mut one = Vec::new();
            put_varint(&mut one, u64::from(number) << 3);
            put_varint(&mut one, numbers.remove(0));
            fields.push(one);
        }
        let half = if self.strange(5) { numbers.len() / 2 } else { numbers.len() };
        for numbers in [&numbers[..half], &numbers[half..]] {
            let mut packed = Vec::new();
            numbers.iter().for_each(|number| put_varint(&mut packed, *number));
            if !packed.is_empty() {
                let mut field = Vec::new();
                self.put(&mut field, number, &packed);
                fields.push(field);
            }
        }
        fields
    }

    fn symbol(&mut self, text: &[u8]) -> u64 {
        let known = self.symbols.iter().position(|symbol| symbol == text);
        // A symbol may be there twice, and unused ones too.
        if let Some(number) = known
            && !self.strange(10)
        {
            return number as u64;
        }
        let unused = self.random.below(150) * u64::from(self.strange(30));
        (0..unused).for_each(|_| self.symbols.push(b"unused".to_vec()));
        self.symbols.push(text.to_vec());
        self.symbols.len() as u64 - 1
    }

    fn point(&mut self, point: Point, timestamp_ms: i64, bits: u64) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut part = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut part = Vec::new();
            write(&mut part);
            parts.push(part);
        };
        let time = match point {
            Point::Sample => {
                part(&|out| put_double(out, 1, f64::from_bits(bits)));
                2
            }
            Point::Histogram => {
                part(&|out| put_int64(out, 1, 11));
                part(&|out| put_double(out, 3, f64::from_bits(bits)));
                part(&|out| put_int64(out, 4, 3));
                part(&|out| put_bytes(out, 11, &[8, 2, 16, 3]));
                part(&|out| put_bytes(out, 12, &[2, 1, 0]));
                15
            }
            Point::Exemplar => {
                part(&|out| put_double(out, 2, f64::from_bits(bits)));
                3
            }
        };
        part(&|out| put_int64(out, time, timestamp_ms));
        if point == Point::Exemplar {
            let trace: Labels = vec![(b"trace_id".to_vec(), bits.to_be_bytes().to_vec())];
            parts.extend(match self.protocol {
                Protocol::V1 => self.labels_v1(&trace, 1),
                Protocol::V2 => self.references(&trace, 1),
            });
        }
        if point == Point::Histogram {
            let mut custom = Vec::new();
            put_bytes(&mut custom, 16, &[0; 16]);
            parts.push(custom);
        }
        self.unknown(&mut parts);
        parts.concat()
    }

    /// Adds a field that nobody knows, somewhere.
    fn unknown(&mut self, parts: &mut Vec<Vec<u8>>) {
        if !self.strange(6) {
            return;
        }
        let mut part = Vec::new();
        let number = 20 + self.random.below(100) as u32;
        match self.random.below(4) {
            0 => put_int64(&mut part, number, -5),
            1 => put_double(&mut part, number, 2.5),
            2 => put_bytes(&mut part, number, b"unknown"),
            _ => {
                put_varint(&mut part, u64::from(number) << 3 | 5);
                part.extend_from_slice(&[1, 2, 3, 4]);
            }
        }
        let at = self.random.below(parts.len() as u64 + 1) as usize;
        parts.insert(at, part);
    }

    /// Writes a field of bytes, its length in one byte more than it needs once in a while.
    fn put(&mut self, out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
        if !self.strange(30) {
            return put_bytes(out, number, bytes);
        }
        put_varint(out, u64::from(number) << 3 | 2);
        put_varint(out, bytes.len() as u64);
        if let Some(last) = out.last_mut() {
            *last |= 0x80;
        }
        out.push(0);
        out.extend_from_slice(bytes);
    }
}
