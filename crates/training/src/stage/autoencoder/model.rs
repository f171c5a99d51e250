use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::{Bool, FloatDType, Int, Tensor};
use latent_text_autoencoder::Perceiver;
use latent_text_language_model::EncoderDecoder;
use latent_text_nn::cast_module;

/// What an [`AutoencoderStage`](super::AutoencoderStage) trains: a [`Perceiver`], or with it the
/// language model that it belongs to.
pub trait AutoencoderModel: Module + 'static {
    /// What stays as it is.
    type Frozen;

    /// The parts of `language_model`, which is without autodiff, that stay as they are: for passes in
    /// `dtype`, with or without dropout.
    fn frozen(language_model: &EncoderDecoder, dtype: FloatDType, dropout: bool) -> Self::Frozen;

    /// What brings texts to latents and back.
    fn perceiver(&self) -> &Perceiver;

    /// The encoder's states `[batch, length, d_model]` of token ids and their mask, `[batch, length]`
    /// each and without autodiff; the states have it if the pass is one of training.
    fn encode(
        &self,
        frozen: &Self::Frozen,
        ids: Tensor<2, Int>,
        mask: Tensor<2, Bool>,
        trains: bool,
    ) -> Tensor<3>;

    /// The language model whose decoder reads the reconstructed states.
    fn decoder<'a>(&'a self, frozen: &'a Self::Frozen, trains: bool) -> &'a EncoderDecoder;
}

/// A language model that is not trained.
pub struct FrozenLanguageModel {
    /// Without autodiff.
    plain: EncoderDecoder,
    /// On the autodiff device, where gradients pass through it but not into it.
    passing: EncoderDecoder,
    dropout: bool,
}

impl AutoencoderModel for Perceiver {
    type Frozen = FrozenLanguageModel;

    fn frozen(
        language_model: &EncoderDecoder,
        dtype: FloatDType,
        dropout: bool,
    ) -> FrozenLanguageModel {
        let plain = cast_module(language_model.clone(), dtype);
        let passing = plain.clone().freeze().train();
        FrozenLanguageModel { plain, passing: with_dropout(passing, dropout), dropout }
    }

    fn perceiver(&self) -> &Perceiver {
        self
    }

    fn encode(
        &self,
        frozen: &FrozenLanguageModel,
        ids: Tensor<2, Int>,
        mask: Tensor<2, Bool>,
        trains: bool,
    ) -> Tensor<3> {
        match (trains, frozen.dropout) {
            (true, true) => frozen.passing.encode(ids.autodiff(), Some(mask.autodiff())).detach(),
            (true, false) => frozen.plain.encode(ids, Some(mask)).autodiff(),
            (false, _) => frozen.plain.encode(ids, Some(mask)),
        }
    }

    fn decoder<'a>(&'a self, frozen: &'a FrozenLanguageModel, trains: bool) -> &'a EncoderDecoder {
        if trains { &frozen.passing } else { &frozen.plain }
    }
}

/// A Perceiver that is trained together with its language model.
#[derive(Module, Debug)]
pub struct FineTunedAutoencoder {
    /// The Perceiver.
    pub perceiver: Perceiver,
    /// The language model, all of which is trained but what its folder holds as constant.
    pub language_model: EncoderDecoder,
}

impl FineTunedAutoencoder {
    /// The two, with or without dropout of the language model while it is trained.
    pub fn new(perceiver: Perceiver, language_model: EncoderDecoder, dropout: bool) -> Self {
        Self { perceiver, language_model: with_dropout(language_model, dropout) }
    }
}

impl AutoencoderModel for FineTunedAutoencoder {
    type Frozen = ();

    fn frozen(_: &EncoderDecoder, _: FloatDType, _: bool) {}

    fn perceiver(&self) -> &Perceiver {
        &self.perceiver
    }

    fn encode(
        &self,
        _: &(),
        ids: Tensor<2, Int>,
        mask: Tensor<2, Bool>,
        trains: bool,
    ) -> Tensor<3> {
        if trains {
            self.language_model.encode(ids.autodiff(), Some(mask.autodiff()))
        } else {
            self.language_model.encode(ids, Some(mask))
        }
    }

    fn decoder<'a>(&'a self, _: &'a (), _: bool) -> &'a EncoderDecoder {
        &self.language_model
    }
}

/// `module` with its dropout switched on or off. It acts on autodiff devices only.
fn with_dropout<M: Module>(module: M, active: bool) -> M {
    struct Switch(bool);

    impl ModuleMapper for Switch {
        fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
            flag.with_value(self.0)
        }
    }

    module.map(&mut Switch(active))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use burn::tensor::{DType, Device};
    use latent_text_language_model::LanguageModel;

    use super::*;
    use crate::optimisation::FlatLayout;

    #[test]
    fn a_bart_in_bf16_adds_its_constant_as_if_it_were_in_bf16_too() {
        let device = Device::default();
        let folder = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo"))
            .join("../language-model/tests/fixtures/bart");
        let model = LanguageModel::load(&folder, &device).expect("a model").model;
        let layout = FlatLayout::of(&model);
        let values = layout.gather(&model);
        let logits = |model: &EncoderDecoder| {
            let ids = Tensor::<2, Int>::from_data([[0, 5, 7, 2]], &device);
            let states = model.encode(ids.clone(), None);
            model.decode(ids, states, None)
        };
        let trained = logits(&layout.scatter(model.clone(), &values, FloatDType::BF16, false));
        let cast = logits(&cast_module(model, FloatDType::BF16));
        assert_eq!(trained.dtype(), DType::BF16);
        let values = |logits: Tensor<3>| logits.cast(FloatDType::F32).try_into_vec_as::<f32>();
        assert_eq!(values(trained).expect("logits"), values(cast).expect("logits"));
    }
}
