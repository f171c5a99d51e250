/// What can go wrong when a denoiser is set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DenoiserError {
    /// A setting that no denoiser can have, alone or beside the others.
    #[error("the denoiser setting `{setting}` = {value} can't be used: {problem}")]
    Setting {
        /// The field of [`DenoiserConfig`](crate::DenoiserConfig) or
        /// [`EncoderSpaceDenoiserConfig`](crate::EncoderSpaceDenoiserConfig).
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it must be instead.
        problem: String,
    },
}
