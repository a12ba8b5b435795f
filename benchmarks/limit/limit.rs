// The loops of plait.data in Rust, the standard library alone: what one core can do without effort.
//
//     rustc --edition 2021 -O -C target-cpu=native limit.rs -o limit
//     ./limit texts.bin classes.bin lower.bin
//
// texts.bin: for every text its length, u32 little-endian, and its UTF-8. classes.bin: a byte of bits per code point.
// lower.bin: its lower case, i32 little-endian. Prints a line per loop: name, seconds (the best of three), checksum.

use std::time::Instant;

const SPECIAL: u8 = 4;
const LINE_END: u8 = 16;
const PRIME: u64 = 0x100000001b3;
const OFFSET: u64 = 0xcbf29ce484222325;
const MIX: u64 = 0xbf58476d1ce4e5b9;
const BASE: u64 = 0x9e3779b97f4a7c15;

fn mixed(h: u64) -> u64 {
    let h = (h ^ (h >> 32)).wrapping_mul(MIX);
    h ^ (h >> 32)
}

#[inline(always)]
fn point(d: &[u8], i: usize) -> (usize, usize) {
    let b = d[i] as usize;
    let tail = |k: usize| (d[i + k] & 0x3f) as usize;
    match b {
        0..=0x7f => (b, 1),
        0x80..=0xdf => ((b & 0x1f) << 6 | tail(1), 2),
        0xe0..=0xef => ((b & 0x0f) << 12 | tail(1) << 6 | tail(2), 3),
        _ => ((b & 7) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4),
    }
}

#[inline(always)]
fn feed(mut h: u64, c: usize) -> u64 {
    let mut byte = |b: usize| h = (h ^ b as u64).wrapping_mul(PRIME);
    match c {
        0..=0x7f => byte(c),
        0x80..=0x7ff => {
            byte(0xc0 | c >> 6);
            byte(0x80 | c & 0x3f);
        }
        0x800..=0xffff => {
            byte(0xe0 | c >> 12);
            byte(0x80 | c >> 6 & 0x3f);
            byte(0x80 | c & 0x3f);
        }
        _ => {
            byte(0xf0 | c >> 18);
            byte(0x80 | c >> 12 & 0x3f);
            byte(0x80 | c >> 6 & 0x3f);
            byte(0x80 | c & 0x3f);
        }
    }
    h
}

// All counts of characters and lines.
fn scan(d: &[u8], classes: &[u8]) -> [usize; 7] {
    let (mut i, mut n, mut line, mut after_return) = (0, [0usize; 7], 0, false);
    while i < d.len() {
        let (c, w) = point(d, i);
        let kind = classes[c];
        i += w;
        n[0] += 1;
        for bit in 0..4 {
            n[1 + bit] += (kind >> bit & 1) as usize;
        }
        if kind & LINE_END != 0 {
            if !(c == 10 && after_return) {
                n[5] += 1;
                n[6] = n[6].max(line);
            }
            after_return = c == 13;
            line = 0;
        } else {
            line += 1;
            after_return = false;
        }
    }
    if line > 0 {
        n[5] += 1;
        n[6] = n[6].max(line);
    }
    n
}

// Hashes of the words in lower case, without special characters around them.
fn words(d: &[u8], classes: &[u8], lower: &[i32], out: &mut Vec<u64>) {
    out.clear();
    let mut i = 0;
    while i < d.len() {
        let (mut h, mut kept, mut open) = (OFFSET, OFFSET, false);
        while i < d.len() {
            let (c, w) = point(d, i);
            i += w;
            if c == 32 || c == 10 || c == 9 {
                break;
            }
            let low = lower[c] as usize;
            if classes[low] & SPECIAL == 0 {
                open = true;
                h = feed(h, low);
                kept = h;
            } else if open {
                h = feed(h, low);
            }
        }
        if open {
            out.push(mixed(kept));
        }
    }
}

struct Table {
    key: Vec<u64>,
    count: Vec<u32>,
    owner: Vec<u32>,
    now: u32,
}

// Share of runs of items that repeat; with `top` of the most frequent of them alone.
fn repetition(items: &[u64], size: usize, top: bool, t: &mut Table) -> f64 {
    if items.len() < size {
        return 0.0;
    }
    let total = items.len() - size + 1;
    let slots = (2 * total).next_power_of_two().max(16);
    if slots > t.key.len() {
        *t = Table { key: vec![0; slots], count: vec![0; slots], owner: vec![0; slots], now: 0 };
    }
    t.now += 1;
    let (mask, power) = (slots - 1, (0..size).fold(1u64, |p, _| p.wrapping_mul(BASE)));
    let (mut h, mut distinct, mut repeated, mut repeats) = (0u64, 0usize, 0usize, 0usize);
    for i in 0..items.len() {
        h = h.wrapping_mul(BASE).wrapping_add(items[i] + 1);
        if i >= size {
            h = h.wrapping_sub(power.wrapping_mul(items[i - size] + 1));
        }
        if i + 1 < size {
            continue;
        }
        let mut slot = (h ^ (h >> 32)).wrapping_mul(MIX) as usize >> 32 & mask;
        while t.owner[slot] == t.now && t.key[slot] != h {
            slot = slot + 1 & mask;
        }
        if t.owner[slot] != t.now {
            t.owner[slot] = t.now;
            t.key[slot] = h;
            t.count[slot] = 1;
            distinct += 1;
        } else {
            t.count[slot] += 1;
            repeated += (t.count[slot] == 2) as usize;
            repeats += 1 + (t.count[slot] == 2) as usize;
        }
    }
    let most = ((distinct as f64).sqrt() as usize).min(repeated);
    if top && most < repeated {
        let owned = (0..slots).filter(|&s| t.owner[s] == t.now && t.count[s] > 1);
        let mut counts: Vec<u32> = owned.map(|s| t.count[s]).collect();
        counts.sort_unstable();
        repeats = counts[repeated - most..].iter().map(|&c| c as usize).sum();
    }
    repeats as f64 / total as f64
}

fn minhash(words: &[u64], size: usize, factors: &[(u32, u32)], shingles: &mut Vec<u32>, out: &mut [u32]) {
    shingles.clear();
    for window in words.windows(size) {
        let h = window.iter().fold(0u64, |h, &w| h.wrapping_mul(BASE).wrapping_add(w));
        shingles.push((mixed(h) >> 32) as u32);
    }
    for (p, &(a, b)) in factors.iter().enumerate() {
        out[p] = shingles.iter().fold(u32::MAX, |least, &s| least.min(s.wrapping_mul(a).wrapping_add(b)));
    }
}

fn digest(d: &[u8]) -> u64 {
    let mut h = d.len() as u64;
    let mut chunks = d.chunks_exact(8);
    for c in &mut chunks {
        h = (h ^ u64::from_le_bytes(c.try_into().unwrap())).wrapping_mul(MIX).rotate_left(29);
    }
    chunks.remainder().iter().fold(h, |h, &b| (h ^ b as u64).wrapping_mul(PRIME))
}

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let file = |i: usize| std::fs::read(&paths[i]).expect("a file to read");
    let (data, classes) = (file(0), file(1));
    let lower: Vec<i32> = file(2).chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
    let (mut texts, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let n = u32::from_le_bytes(data[at..at + 4].try_into().unwrap()) as usize;
        texts.push(&data[at + 4..at + 4 + n]);
        at += 4 + n;
    }
    let factors: Vec<(u32, u32)> = (1..257u64).map(|i| (mixed(i) as u32 | 1, mixed(i << 32) as u32)).collect();
    let mut table = Table { key: vec![], count: vec![], owner: vec![], now: 0 };
    let (mut found, mut codes, mut shingles, mut signature) = (vec![], vec![], vec![], vec![0u32; 256]);
    for name in ["characters and lines", "words", "repeated characters", "repeated words", "minhash", "digest"] {
        let (mut best, mut sum) = (f64::MAX, 0.0);
        for _ in 0..3 {
            sum = 0.0;
            let start = Instant::now();
            for d in &texts {
                sum += match name {
                    "characters and lines" => scan(d, &classes).iter().sum::<usize>() as f64,
                    "repeated characters" => {
                        codes.clear();
                        let mut i = 0;
                        while i < d.len() {
                            let (c, w) = point(d, i);
                            codes.push(c as u64);
                            i += w;
                        }
                        repetition(&codes, 10, true, &mut table)
                    }
                    "digest" => (digest(d) >> 40) as f64,
                    _ => {
                        words(d, &classes, &lower, &mut found);
                        match name {
                            "words" => found.len() as f64,
                            "repeated words" => repetition(&found, 10, false, &mut table),
                            _ => {
                                minhash(&found, 5, &factors, &mut shingles, &mut signature);
                                signature[0] as f64
                            }
                        }
                    }
                };
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{name}\t{best}\t{sum}");
    }
}
