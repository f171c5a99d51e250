use tokenizers::Tokenizer;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;

/// A tokenizer around a byte-level BPE that treats spaces as BART's does; without the special tokens.
pub(super) fn byte_level_tokenizer(model: BPE) -> Tokenizer {
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::default().add_prefix_space(false)))
        .with_decoder(Some(ByteLevel::default()));
    tokenizer
}

/// Puts the token `bos` in front of every text and `eos` behind it.
pub(super) fn surround(tokenizer: &mut Tokenizer, bos: (String, u32), eos: (String, u32)) {
    let processor = RobertaProcessing::new(eos, bos).add_prefix_space(false);
    tokenizer.with_post_processor(Some(processor));
}
