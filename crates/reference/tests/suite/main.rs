//! Runs of the published code as models here, against what its formulas, written down once more in
//! PyTorch, make of the same inputs (`fixtures/make_fixtures.py`).

mod arguments;
mod checkpoints;
mod first_version;
mod second_version;
mod support;
