//! What diffusers and k-diffusion compute, as recorded by `tests/fixtures/make_fixtures.py`.

mod tables;
mod trajectories;

fn numbers(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn fixture(name: &str) -> Vec<u8> {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    std::fs::read(std::path::Path::new(&root).join("tests/fixtures").join(name)).unwrap()
}
