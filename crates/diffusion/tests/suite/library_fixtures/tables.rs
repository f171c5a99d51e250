//! Schedule tables and spacings.

use latent_text_diffusion::schedule::{
    Betas, Edm, LinearBetas, RectifiedFlow, ScaledLinearBetas, SigmoidBetas, SquaredCosineBetas,
    Table,
};
use latent_text_diffusion::spacing::{
    Beta, Exponential, Karras, Leading, Linspace, Times, Trailing,
};
use latent_text_diffusion::{
    NoisePoint, NoiseSchedule, NoiseScheduleConfig, ScheduleKind, Spacing,
};
use safetensors::SafeTensors;

use super::{fixture, numbers};

/// Both sides compute in f64; this is above what the libraries' sums lose.
const TOLERANCE: f64 = 1e-9;

const STEPS: [usize; 2] = [10, 25];

#[test]
fn tables_of_betas_equal_those_of_diffusers() {
    let recorded = Recorded::load();
    let betas = [
        ("linear", Betas::Linear(LinearBetas::default())),
        ("scaled_linear", Betas::ScaledLinear(ScaledLinearBetas::default())),
        ("squaredcos_cap_v2", Betas::SquaredCosine(SquaredCosineBetas::default())),
        ("sigmoid", Betas::Sigmoid(SigmoidBetas::default())),
    ];
    for (name, betas) in betas {
        for (suffix, zero_terminal_snr) in [("", false), ("_zero_snr", true)] {
            let schedule = table(Table { betas, zero_terminal_snr, ..Table::default() });
            let entries = recorded.get("table/entries");
            let alphas: Vec<f64> =
                entries.iter().map(|entry| schedule.alpha(entry / 999.0)).collect();
            let name = format!("table/{name}{suffix}");
            assert_equal(&name, &alphas, &recorded.get(&name));
        }
    }
}

#[test]
fn spacings_over_a_table_equal_those_of_diffusers() {
    let recorded = Recorded::load();
    let schedule = stable_diffusion();
    let spacings = [
        ("linspace", Spacing::Linspace(Linspace {})),
        ("leading", Spacing::Leading(Leading { offset: 0 })),
        ("leading_offset1", Spacing::Leading(Leading { offset: 1 })),
        ("trailing", Spacing::Trailing(Trailing {})),
    ];
    for (name, spacing) in spacings {
        for steps in STEPS {
            let points = spacing.points(&schedule, steps).unwrap();
            let entries: Vec<f64> =
                points[..steps].iter().map(|point| point.time * 999.0).collect();
            let name = format!("entries/{name}_{steps}");
            assert_equal(&name, &entries, &recorded.get(&name));
        }
    }
}

#[test]
fn spacings_in_sigma_equal_those_of_both_libraries() {
    let recorded = Recorded::load();
    let (table, edm) = (stable_diffusion(), schedule(ScheduleKind::Edm(Edm::default())));
    let (sigma_min, sigma_max) = (Some(0.01), Some(50.0));
    let spacings = [
        ("table_karras", &table, Spacing::Karras(Karras::default())),
        ("table_exponential", &table, Spacing::Exponential(Exponential::default())),
        ("table_beta", &table, Spacing::Beta(Beta::default())),
        ("edm_karras", &edm, Spacing::Karras(Karras::default())),
        ("edm_exponential", &edm, Spacing::Exponential(Exponential::default())),
        ("k_karras", &edm, Spacing::Karras(Karras { rho: 5.0, sigma_min, sigma_max })),
        ("k_exponential", &edm, Spacing::Exponential(Exponential { sigma_min, sigma_max })),
    ];
    for (name, schedule, spacing) in spacings {
        for steps in STEPS {
            let points = spacing.points(schedule, steps).unwrap();
            let name = format!("sigmas/{name}_{steps}");
            assert_equal(&name, &sigmas(&points), &recorded.get(&name));
        }
    }
}

#[test]
fn shifted_flows_equal_those_of_diffusers() {
    let recorded = Recorded::load();
    for shift in [1.0, 3.0] {
        let schedule = schedule(ScheduleKind::RectifiedFlow(RectifiedFlow { shift }));
        for steps in STEPS {
            let times = recorded.get(&format!("times/flow_shift{shift}_{steps}"));
            let points = Spacing::Times(Times { times }).points(&schedule, steps).unwrap();
            let noises: Vec<f64> = points.iter().map(|point| point.level.noise()).collect();
            let name = format!("sigmas/flow_shift{shift}_{steps}");
            assert_equal(&name, &noises, &recorded.get(&name));
        }
    }
}

fn stable_diffusion() -> NoiseSchedule {
    let betas = Betas::ScaledLinear(ScaledLinearBetas::default());
    table(Table { betas, ..Table::default() })
}

fn table(table: Table) -> NoiseSchedule {
    schedule(ScheduleKind::Table(table))
}

fn schedule(kind: ScheduleKind) -> NoiseSchedule {
    NoiseScheduleConfig { kind, scale: 1.0 }.init().unwrap()
}

fn sigmas(points: &[NoisePoint]) -> Vec<f64> {
    points.iter().map(|point| point.level.sigma()).collect()
}

/// Equal but for a relative error of [`TOLERANCE`].
#[track_caller]
fn assert_equal(name: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{name}");
    for (index, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= TOLERANCE * e.abs(), "{name}[{index}] is {a}, not {e}");
    }
}

struct Recorded(Vec<u8>);

impl Recorded {
    fn load() -> Self {
        Self(fixture("schedules.safetensors"))
    }

    fn get(&self, name: &str) -> Vec<f64> {
        numbers(SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().data())
    }
}
