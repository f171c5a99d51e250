use burn::tensor::{Distribution, FloatDType, Tensor};

/// Keeps variances and their inverses finite, also in bf16 (the bounds of Rombach et al. 2022).
const LOG_VARIANCES: (f64, f64) = (-30.0, 20.0);

/// Independent Gaussians over the numbers of a batch of latents, as a variational autoencoder's
/// encoder gives them (Kingma and Welling 2014).
#[derive(Clone, Debug)]
pub struct LatentPosterior {
    /// Their means, `[batch, latents, latent_dim]`: what a text is encoded to.
    pub mean: Tensor<3>,
    /// The logarithms of their variances, as the mean; f32.
    log_variance: Tensor<3>,
}

impl LatentPosterior {
    /// Gaussians of these means and log-variances, `[batch, latents, latent_dim]` each. Log-variances
    /// are brought into -30..=20.
    pub fn new(mean: Tensor<3>, log_variance: Tensor<3>) -> Self {
        let (least, most) = LOG_VARIANCES;
        let log_variance = log_variance.cast(FloatDType::F32).clamp(least, most);
        Self { mean, log_variance }
    }

    /// One draw of each: `mean + exp(log_variance / 2) * eps` with `eps` from N(0, 1), so that gradients
    /// reach both (the reparameterisation of Kingma and Welling 2014, section 2.4). In the mean's dtype.
    pub fn draw(&self) -> Tensor<3> {
        let dtype = self.mean.dtype();
        let deviation = (self.log_variance.clone() * 0.5).exp();
        let eps = deviation.random_like(Distribution::Normal(0.0, 1.0));
        self.mean.clone() + (deviation * eps).cast(dtype)
    }

    /// The Kullback-Leibler divergence from N(0, I) in nats, summed over a text's latents and their
    /// dimensions, mean over the texts; one element, f32:
    ///
    /// `KL = 1/2 sum (mean^2 + exp(log_variance) - 1 - log_variance)`
    ///
    /// (Kingma and Welling 2014, appendix B).
    pub fn kl(&self) -> Tensor<1> {
        let [texts, _, _] = self.mean.dims();
        let mean = self.mean.clone().cast(FloatDType::F32);
        let log_variance = self.log_variance.clone();
        let nats = mean.square() + log_variance.clone().exp() - 1.0 - log_variance;
        nats.sum() * (0.5 / texts as f64)
    }
}
