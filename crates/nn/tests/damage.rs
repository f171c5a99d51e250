//! Damaged and lying weight files of every kind: an error or tensors, but never a panic, a hang, or
//! more memory than a small multiple of the file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use latent_text_nn::weights::{TensorFile, WeightsError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Counts what each thread has allocated.
struct Counting;

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.get().wrapping_add(layout.size());
        HELD.set(held);
        // What another thread allocated may be freed here: the count can fall below zero.
        if held as isize > MOST.get() as isize {
            MOST.set(held);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result and the bytes that getting it took at the worst moment.
fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let result = work();
    (result, MOST.get().wrapping_sub(before))
}

/// JSON and pickles may write in two bytes what takes some tens in memory.
fn allowance(file_bytes: usize) -> usize {
    64 * file_bytes + (64 << 10)
}

fn fixture(name: &str) -> Vec<u8> {
    // Read when the test runs: checkouts may share one target folder.
    let home = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    fs::read(home.join("tests/fixtures/state_dicts").join(name)).unwrap()
}

type Open = fn(&Path) -> Result<TensorFile, WeightsError>;

/// Opens a file and reads all that it has, within the memory that its size allows.
fn read_all(open: Open, path: &Path, file_bytes: usize) -> Result<(), WeightsError> {
    // Nothing of the device may count.
    let device = Device::default();
    let (result, most) = counted(|| {
        let file = open(path)?;
        let names = file.names();
        for name in &names {
            let _ = file.floats(name);
            let _ = file.are_equal(name, &names[0]);
        }
        Ok::<_, WeightsError>(file)
    });
    assert!(most <= allowance(file_bytes), "{most} bytes for a file of {file_bytes}");
    let file = result?;
    for name in file.names() {
        let _ = file.ints::<1>(&name, &device);
        let _ = file.bools::<1>(&name, &device);
    }
    Ok(())
}

/// As [`read_all`], of a file that holds `bytes`.
fn read_bytes(open: Open, bytes: &[u8]) -> Result<(), WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, bytes).unwrap();
    let result = read_all(open, &path, bytes.len());
    if let Err(error) = &result {
        assert!(!error.to_string().is_empty());
    }
    result
}

#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Overwrite(Index, Vec<u8>),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at.index(bytes.len());
                let end = bytes.len().min(at + count);
                bytes.drain(at..end);
            }
            Self::Overwrite(at, new) => {
                let at = at.index(bytes.len());
                for (old, new) in bytes[at..].iter_mut().zip(new) {
                    *old = *new;
                }
            }
        }
    }
}

/// Numbers that sums and products of sizes trip over.
fn tricky() -> impl Strategy<Value = u64> {
    const POWERS: &[u32] = &[0, 1, 7, 8, 15, 16, 31, 32, 33, 47, 61, 62, 63];
    prop_oneof![
        0..100u64,
        select(POWERS).prop_map(|power| 1u64 << power),
        select(POWERS).prop_map(|power| (1u64 << power) - 1),
        (0..20u64).prop_map(|less| u64::MAX - less),
    ]
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    let at = any::<Index>;
    let number = (tricky(), select(&[1usize, 2, 4, 8][..]))
        .prop_map(|(number, length)| number.to_le_bytes()[..length].to_vec());
    let digits = tricky().prop_map(|number| number.to_string().into_bytes());
    let bytes = prop_oneof![number, digits, vec(any::<u8>(), 1..12)];
    let one = prop_oneof![
        3 => (at(), 1..=255u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        1 => at().prop_map(Damage::Cut),
        2 => (at(), bytes.clone()).prop_map(|(at, new)| Damage::Insert(at, new)),
        1 => (at(), 1..40usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        3 => (at(), bytes).prop_map(|(at, new)| Damage::Overwrite(at, new)),
    ];
    vec(one, 1..4)
}

fn damaged(whole: &[u8], damage: &[Damage]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for one in damage {
        one.apply(&mut bytes);
    }
    bytes
}

fn open_average(path: &Path) -> Result<TensorFile, WeightsError> {
    TensorFile::open_state_dict_in(path, &["ema"])
}

/// Opcodes and what may follow them, in any order.
fn opcodes() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        &b"("[..],
        b")",
        b"}",
        b"]",
        b"N",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"R",
        b"b",
        b"Q",
        b"a",
        b"e",
        b"s",
        b"u",
        b".",
        b"q\x00",
        b"q\x01",
        b"h\x00",
        b"h\x01",
        b"r\xff\xff\xff\xff",
        b"K\x02",
        b"M\xff\xff",
        b"J\xff\xff\xff\xff",
        b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x88",
        b"\x89",
        b"U\x01a",
        b"U\x03ema",
        b"G\x3f\xe0\x00\x00\x00\x00\x00\x00",
        b"X\x01\x00\x00\x00a",
        b"X\x07\x00\x00\x00storage",
        b"X\xff\xff\xff\xffa",
        b"ctorch\nFloatStorage\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ctorch._utils\n_rebuild_parameter\n",
    ];
    vec(select(words.to_vec()), 0..60).prop_map(|words| words.concat())
}

/// The part of the older format that comes before the state dict.
fn stream_start() -> Vec<u8> {
    let whole = fixture("stream.bin");
    let state_dict = b"\x80\x02ccollections\nOrderedDict";
    let at = whole.windows(state_dict.len()).position(|window| window == state_dict).unwrap();
    whole[..at].to_vec()
}

fn safetensors(header: &str, values: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + values, 1);
    bytes
}

proptest! {
    // PROPTEST_CASES sets their number.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn damaged_safetensors(damage in damage()) {
        let _ = read_bytes(TensorFile::open, &damaged(&fixture("expected.safetensors"), &damage));
    }

    #[test]
    fn damaged_archives(damage in damage()) {
        let _ = read_bytes(TensorFile::open_state_dict, &damaged(&fixture("zip.bin"), &damage));
    }

    #[test]
    fn damaged_streams(damage in damage()) {
        let _ = read_bytes(TensorFile::open_state_dict, &damaged(&fixture("stream.bin"), &damage));
    }

    #[test]
    fn damaged_checkpoints(damage in damage(), file in 0..2usize) {
        let name = ["checkpoint.bin", "checkpoint-stream.bin"][file];
        let _ = read_bytes(open_average, &damaged(&fixture(name), &damage));
    }

    #[test]
    fn pickles_of_any_opcodes(opcodes in opcodes()) {
        let mut bytes = stream_start();
        bytes.extend(opcodes);
        let _ = read_bytes(TensorFile::open_state_dict, &bytes);
        let _ = read_bytes(open_average, &bytes);
    }

    #[test]
    fn headers_that_lie(
        tensors in vec(
            (select(&["F32", "F16", "BF16", "I64", "BOOL", "F4", "C64", "X"][..]),
             vec(tricky(), 0..4), tricky(), tricky()),
            1..5,
        ),
        values in 0..64usize,
    ) {
        let entries: Vec<String> = tensors
            .iter()
            .enumerate()
            .map(|(number, (dtype, shape, start, end))| {
                format!(
                    r#""{number}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
                )
            })
            .collect();
        let _ = read_bytes(TensorFile::open, &safetensors(&format!("{{{}}}", entries.join(",")), values));
    }

    #[test]
    fn damaged_indices(damage in damage(), shard in 0..3usize) {
        let folder = tempfile::tempdir().unwrap();
        let names = ["model.safetensors.index.json", "a.safetensors", "b.bin"];
        let index = r#"{"metadata":{"total_size":68},"weight_map":{"weight":"b.bin","bias":"b.bin","x":"a.safetensors"}}"#;
        let one = r#"{"x":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
        let mut files = [index.as_bytes().to_vec(), safetensors(one, 16), fixture("parameters.bin")];
        files[shard] = damaged(&files[shard], &damage);
        for (name, bytes) in names.iter().zip(&files) {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let size = files.iter().map(Vec::len).sum();
        let _ = read_all(TensorFile::open_index, &folder.path().join(names[0]), size);
    }
}

#[test]
fn undamaged_files_are_read() {
    read_bytes(TensorFile::open, &fixture("expected.safetensors")).unwrap();
    read_bytes(TensorFile::open_state_dict, &fixture("zip.bin")).unwrap();
    read_bytes(TensorFile::open_state_dict, &fixture("stream.bin")).unwrap();
    read_bytes(open_average, &fixture("checkpoint.bin")).unwrap();
    read_bytes(open_average, &fixture("checkpoint-stream.bin")).unwrap();
}

#[test]
fn dictionaries_that_hold_themselves_end() {
    let mut bytes = stream_start();
    bytes.extend(b"}q\x00X\x03\x00\x00\x00emah\x00s.");
    assert!(read_bytes(open_average, &bytes).is_err());
}

#[test]
fn lengths_far_beyond_the_file_take_no_memory() {
    for length in [9, 1 << 20, 99_999_999, 1 << 32, 1 << 62, u64::MAX - 8, u64::MAX] {
        let mut bytes = fixture("expected.safetensors");
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(read_bytes(TensorFile::open, &bytes).is_err(), "{length}");
    }
}

#[test]
fn pickles_that_pile_up_values_are_refused() {
    for word in
        [&b"N"[..], b"(", b"}", b"]", b")", b"K\x01", b")\x85", b"}q\x00h\x00", b"N\x85\x85\x85"]
    {
        let mut bytes = stream_start();
        for _ in 0..1_000_000 / word.len() {
            bytes.extend(word);
        }
        bytes.push(b'.');
        assert!(read_bytes(TensorFile::open_state_dict, &bytes).is_err(), "{word:?}");
    }
}

#[test]
fn a_view_that_is_built_often_takes_no_more_memory() {
    let mut bytes = stream_start();
    // A tuple of a thousand sizes, of which many tensors are to be made.
    bytes.extend(b"(");
    bytes.extend(b"K\x01".repeat(1000));
    bytes.extend(b"tq\x00");
    bytes.extend(b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQq\x01");
    for _ in 0..10_000 {
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(h\x01K\x00h\x00h\x00tR");
    }
    bytes.push(b'.');
    assert!(read_bytes(TensorFile::open_state_dict, &bytes).is_err());
}
