//! How long calls take on a device that works behind the host's back.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::Device;

/// Calls between the first one and those that are measured.
const WARM_UP: usize = 2;
const FEWEST_RUNS: usize = 3;

/// How often something is called.
#[derive(Clone, Copy)]
pub struct Runs {
    /// The most single calls.
    pub most: usize,
    /// Seconds after which no further call is made.
    pub seconds: f64,
    /// Calls that are waited for together; 0 leaves that out.
    pub chained: usize,
}

impl Runs {
    /// For what takes milliseconds.
    pub const SHORT: Self = Self { most: 30, seconds: 8.0, chained: 10 };
    /// For what takes seconds.
    pub const LONG: Self = Self { most: 3, seconds: 20.0, chained: 0 };
}

/// Seconds of a call.
pub struct Timing {
    /// The very first one.
    pub first: f64,
    /// Median of calls that each were waited for.
    pub median: f64,
    /// How many these were.
    pub runs: usize,
    /// Mean of calls that were waited for together.
    pub chained: Option<f64>,
}

/// Times `call`, whose results are kept until the device has made them: what nobody wants to see any
/// more need not be computed.
pub fn time<R>(device: &Device, runs: Runs, mut call: impl FnMut() -> Result<R>) -> Result<Timing> {
    let first = seconds(device, &mut call)?;
    // Where a call takes long, the first one has warmed up most of it.
    let warm_up = if runs.chained > 0 { WARM_UP } else { 0 };
    for _ in 0..warm_up {
        seconds(device, &mut call)?;
    }
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < runs.most
        && (times.len() < FEWEST_RUNS.min(runs.most)
            || started.elapsed().as_secs_f64() < runs.seconds)
    {
        times.push(seconds(device, &mut call)?);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let affordable = median * (2 * runs.chained) as f64 <= runs.seconds;
    let chained = match runs.chained {
        calls @ 1.. if affordable => Some(chained(device, calls, &mut call)?),
        _ => None,
    };
    Ok(Timing { first, median, runs: times.len(), chained })
}

fn seconds<R>(device: &Device, call: &mut impl FnMut() -> Result<R>) -> Result<f64> {
    let started = Instant::now();
    let result = call()?;
    device.sync()?;
    let taken = started.elapsed().as_secs_f64();
    drop(result);
    Ok(taken)
}

/// Measured the second time: operations of two calls that meet in a queue may be fused anew.
fn chained<R>(device: &Device, calls: usize, call: &mut impl FnMut() -> Result<R>) -> Result<f64> {
    let mut all = || (0..calls).map(|_| call()).collect::<Result<Vec<R>>>();
    seconds(device, &mut all)?;
    Ok(seconds(device, &mut all)? / calls as f64)
}
