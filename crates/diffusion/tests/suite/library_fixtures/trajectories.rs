//! Sampler runs.

use burn::tensor::{Tensor, TensorData};
use latent_text_diffusion::sampler::{
    Boundary, Churn, Ddim, DdimInversion, Ddpm, Deis, DpmSolverPp, Euler, EulerAncestral, FlowHeun,
    Heun, Lcm, Order, Slope, UniPc, Variance, Variant,
};
use latent_text_diffusion::{
    DenoiserInput, Family, NoiseLevel, NoisePoint, Prediction, Sampler, SamplerPlan,
};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{fixture, numbers};
use crate::support::{Replay, device, values};

/// Largest error allowed, as a share of the largest value of a tensor (or of 1).
const TOLERANCE: f64 = 1e-5;

#[test]
fn samplers_follow_diffusers() {
    check_library("diffusers", 180);
}

#[test]
fn samplers_follow_k_diffusion() {
    check_library("k-diffusion", 40);
}

/// Replays all trajectories of a library, of which there are at least `least`, and names all that
/// differ.
fn check_library(library: &str, least: usize) {
    let bytes = fixture("trajectories.json");
    let cases: Vec<Case> = serde_json::from_slice(&bytes).unwrap();
    let bytes = fixture("trajectories.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).unwrap();

    let cases: Vec<_> = cases.into_iter().filter(|case| case.library == library).collect();
    assert!(cases.len() >= least, "{} trajectories", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let recorded = Recorded::new(&tensors, &case.name);
        for family in case.families() {
            if let Err(error) = replay(case, &recorded, family) {
                wrong.push(format!("{} in {family:?}: {error}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Runs our sampler through the recorded levels with the recorded noise and compares the data after
/// every step and what the network sees at every call.
fn replay(case: &Case, recorded: &Recorded, family: Family) -> Result<(), String> {
    let mut points = recorded.points(family);
    let rescale: Vec<f64> = points.iter().map(|point| case.z_scale(point.level)).collect();
    if case.sampler == "DDIMInverseScheduler" {
        points.reverse();
    }
    let first = points[0].level;
    let plan = SamplerPlan::from_points(points, &*case.our_sampler(), case.our_prediction())
        .map_err(|error| error.to_string())?;
    if plan.calls() != case.network_calls {
        return Err(format!("{} network calls, not {}", plan.calls(), case.network_calls));
    }

    let noise = case.noise_used.iter().map(|&draw| recorded.noise(draw));
    let mut noise = Replay::new(noise.collect());
    let initial = if family == Family::VariancePreserving { 1.0 } else { first.noise() };
    let z = tensor(&recorded.z[0]) * (rescale[0] / initial);
    let mut state = plan.start(z, &mut noise);
    let mut call = 0;
    while let Some(input) = plan.denoiser_input(&state) {
        let (seen, output) = case.network(input, call);
        if let Some(inputs) = &recorded.inputs {
            compare(&seen, &inputs[call], 1.0).map_err(|e| format!("input {call}: {e}"))?;
        }
        let before = state.step();
        state = plan.step(state, output, &mut noise).unwrap();
        call += 1;
        let step = state.step();
        // Our step ends with the churn of the next one; there the inputs tell.
        let churned = case.settings.contains_key("s_churn") && step < case.steps;
        if step > before && !churned {
            compare(state.z(), &recorded.z[step], rescale[step])
                .map_err(|error| format!("after step {step} of {}: {error}", case.steps))?;
        }
    }
    match noise.left() {
        0 => Ok(()),
        left => Err(format!("{left} draws of noise were not asked for")),
    }
}

/// Compares with `scale` times the expected values.
fn compare(actual: &Tensor<3>, expected: &[f64], scale: f64) -> Result<(), String> {
    let largest = expected.iter().fold(0.0_f64, |largest, e| largest.max((e * scale).abs()));
    let error = |(a, e): (f32, &f64)| (f64::from(a) - e * scale).abs();
    let error = values(actual.clone()).into_iter().zip(expected).map(error);
    // NaN must not pass.
    let worst = error.fold(0.0_f64, |worst, e| if e <= worst { worst } else { e });
    match worst <= TOLERANCE * largest.max(1.0) {
        true => Ok(()),
        false => Err(format!("off by {worst:.2e}, with values up to {largest:.2e}")),
    }
}

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    library: String,
    sampler: String,
    settings: Map<String, Value>,
    prediction: String,
    family: Family,
    network_input: String,
    steps: usize,
    network_calls: usize,
    /// Which of the recorded noise matters, in order.
    noise_used: Vec<usize>,
    sigma_data: Option<f64>,
    variance_fraction: Option<f64>,
}

impl Case {
    /// The families to replay this in: where the library holds `z / signal` but shows the network the
    /// variance-preserving `z`, ours must agree in both.
    fn families(&self) -> Vec<Family> {
        match self.network_input.as_str() {
            "vp_scaled" => vec![self.family, Family::VariancePreserving],
            _ => vec![self.family],
        }
    }

    /// Our `z` at a level over the library's.
    fn z_scale(&self, level: NoiseLevel) -> f64 {
        match self.family {
            Family::VarianceExploding => level.signal(),
            _ => 1.0,
        }
    }

    /// What the recorded network saw, and its answer at this call as our prediction has it.
    fn network(&self, input: DenoiserInput, call: usize) -> (Tensor<3>, Tensor<3>) {
        let level = input.level;
        let scaled = match self.network_input.as_str() {
            "vp_scaled" => level.alpha().sqrt() / level.signal(),
            _ => 1.0,
        };
        let seen = input.z * scaled;
        // On the host, so that a device's own tanh is no part of the comparison.
        let answer = |x: f32| 0.7 * f64::from(x).tanh() + 0.1 * (call as f64).sin();
        let answers: Vec<f64> = values(seen.clone()).into_iter().map(answer).collect();
        let output = tensor(&answers);
        match self.our_prediction() {
            // The library's v belongs to the variance-preserving z.
            Prediction::V => (seen, output / scaled),
            _ => (seen, output),
        }
    }

    fn our_prediction(&self) -> Prediction {
        match self.prediction.as_str() {
            "epsilon" => Prediction::Eps,
            "sample" => Prediction::X0,
            "v_prediction" => Prediction::V,
            "flow" => Prediction::Velocity,
            "edm" => Prediction::Edm { sigma_data: self.sigma_data.unwrap() },
            other => panic!("prediction {other}"),
        }
    }

    fn our_sampler(&self) -> Box<dyn Sampler> {
        match self.sampler.as_str() {
            "DDPMScheduler" => Box::new(Ddpm { variance: self.variance() }),
            "DDIMScheduler" => Box::new(Ddim { eta: self.number("eta") }),
            "DDIMInverseScheduler" => Box::new(DdimInversion {}),
            "LCMScheduler" => Box::new(self.lcm()),
            "DPMSolverMultistepScheduler" | "EDMDPMSolverMultistepScheduler" => {
                Box::new(self.dpm_solver())
            }
            "UniPCMultistepScheduler" => Box::new(UniPc {
                order: self.order(),
                variant: match self.text("solver_type") {
                    "bh1" => Variant::Bh1,
                    _ => Variant::Bh2,
                },
                lower_order_final: self.lower_order_final(),
                ..UniPc::default()
            }),
            "DEISMultistepScheduler" => {
                Box::new(Deis { order: self.order(), lower_order_final: self.lower_order_final() })
            }
            "EulerDiscreteScheduler" | "EDMEulerScheduler" | "sample_euler" => {
                Box::new(Euler { churn: self.churn() })
            }
            "FlowMatchEulerDiscreteScheduler"
                if self.settings.contains_key("stochastic_sampling") =>
            {
                Box::new(Lcm::default())
            }
            "FlowMatchEulerDiscreteScheduler" => Box::new(Euler::default()),
            "FlowMatchHeunDiscreteScheduler" => Box::new(FlowHeun {}),
            "HeunDiscreteScheduler" | "sample_heun" => Box::new(Heun { churn: self.churn() }),
            "EulerAncestralDiscreteScheduler" => Box::new(EulerAncestral::default()),
            "sample_euler_ancestral" => Box::new(EulerAncestral { eta: self.number("eta") }),
            "sample_dpmpp_2m" => Box::new(self.k_dpm_solver(Order::Two)),
            "sample_dpmpp_2m_sde" => Box::new(self.k_dpm_solver(Order::Two)),
            "sample_dpmpp_3m_sde" => Box::new(self.k_dpm_solver(Order::Three)),
            other => panic!("sampler {other}"),
        }
    }

    fn variance(&self) -> Variance {
        match self.text("variance_type") {
            "fixed_small" => Variance::Small,
            "fixed_large" => Variance::Large,
            _ => Variance::Interpolated { large: self.variance_fraction.unwrap() },
        }
    }

    fn lcm(&self) -> Lcm {
        // Our time 1 is the table's entry 999.
        let time_scale = 999.0 * self.number("timestep_scaling");
        Lcm { boundary: Some(Boundary { sigma_data: self.number("sigma_data"), time_scale }) }
    }

    fn dpm_solver(&self) -> DpmSolverPp {
        let stochastic = self.text("algorithm_type") == "sde-dpmsolver++";
        DpmSolverPp {
            order: self.order(),
            slope: self.slope(),
            eta: if stochastic { 1.0 } else { 0.0 },
            lower_order_final: self.lower_order_final(),
            half_curvature: true,
        }
    }

    fn k_dpm_solver(&self, order: Order) -> DpmSolverPp {
        DpmSolverPp {
            order,
            slope: self.slope(),
            eta: self.number("eta"),
            lower_order_final: false,
            half_curvature: true,
        }
    }

    fn slope(&self) -> Slope {
        match self.text("solver_type") {
            "heun" => Slope::Heun,
            // Its second step, which knows two estimates.
            _ if self.sampler == "sample_dpmpp_3m_sde" => Slope::Heun,
            _ => Slope::Midpoint,
        }
    }

    fn order(&self) -> Order {
        match self.settings["solver_order"].as_u64() {
            Some(1) => Order::One,
            Some(2) => Order::Two,
            Some(3) => Order::Three,
            other => panic!("order {other:?}"),
        }
    }

    fn lower_order_final(&self) -> bool {
        self.settings.get("lower_order_final").is_none_or(|value| value.as_bool().unwrap())
    }

    fn churn(&self) -> Churn {
        if !self.settings.contains_key("s_churn") {
            return Churn::default();
        }
        Churn {
            amount: self.number("s_churn"),
            sigma_min: self.number("s_tmin"),
            sigma_max: Some(self.number("s_tmax")),
            noise_scale: self.number("s_noise"),
        }
    }

    /// 0 if the setting is not there.
    fn number(&self, setting: &str) -> f64 {
        self.settings.get(setting).map_or(0.0, |value| value.as_f64().unwrap())
    }

    /// Empty if the setting is not there.
    fn text(&self, setting: &str) -> &str {
        self.settings.get(setting).map_or("", |value| value.as_str().unwrap())
    }
}

/// The numbers of one trajectory.
struct Recorded {
    log_snrs: Vec<f64>,
    /// Steps of the table, for the points but the last.
    times: Option<Vec<f64>>,
    /// The data at every level.
    z: Vec<Vec<f64>>,
    /// What the network saw at every call, where that is not `z`.
    inputs: Option<Vec<Vec<f64>>>,
    noise: Vec<Vec<f64>>,
}

impl Recorded {
    fn new(tensors: &SafeTensors, name: &str) -> Self {
        let part = |part: &str| tensors.tensor(&format!("{name}/{part}")).ok();
        Self {
            log_snrs: numbers(part("log_snr").unwrap().data()),
            times: part("times").map(|times| numbers(times.data())),
            z: rows(part("z").unwrap().data()),
            inputs: part("inputs").map(|inputs| rows(inputs.data())),
            noise: rows(tensors.tensor("noise").unwrap().data()),
        }
    }

    fn points(&self, family: Family) -> Vec<NoisePoint> {
        let time = |index: usize| {
            self.times.as_ref().and_then(|times| times.get(index)).map_or(0.0, |t| t / 999.0)
        };
        let level = |&log_snr: &f64| NoiseLevel::new(family, log_snr);
        let levels = self.log_snrs.iter().map(level).enumerate();
        levels.map(|(index, level)| NoisePoint { time: time(index), level }).collect()
    }

    fn noise(&self, draw: usize) -> Tensor<3> {
        tensor(&self.noise[draw])
    }
}

const SHAPE: [usize; 3] = [2, 3, 4];

fn tensor(values: &[f64]) -> Tensor<3> {
    let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
    Tensor::from_data(TensorData::new(values, SHAPE), &device())
}

fn rows(bytes: &[u8]) -> Vec<Vec<f64>> {
    numbers(bytes).chunks_exact(SHAPE.iter().product()).map(<[f64]>::to_vec).collect()
}
