//! The two kinds of models: decoders, which generate, and encoders.

use super::{ConfigError, DecoderConfig, EncoderConfig, encoder, families};

/// What `config.json` describes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) enum ModelConfig {
    Decoder(Box<DecoderConfig>),
    Encoder(EncoderConfig),
}

impl ModelConfig {
    /// Reads `config.json`, and `generation_config.json` for the tokens that end an answer.
    pub(in crate::model) fn parse(
        config: &[u8],
        generation: Option<&[u8]>,
    ) -> Result<Self, ConfigError> {
        match EncoderConfig::parse(config)? {
            Some(encoder) => Ok(Self::Encoder(encoder)),
            None => DecoderConfig::parse(config, generation).map(|c| Self::Decoder(Box::new(c))),
        }
    }

    pub(in crate::model) fn architecture(&self) -> &'static str {
        match self {
            Self::Decoder(config) => config.architecture,
            Self::Encoder(config) => config.architecture,
        }
    }

    /// Width of the hidden states.
    pub(in crate::model) fn hidden(&self) -> usize {
        match self {
            Self::Decoder(config) => config.hidden,
            Self::Encoder(config) => config.hidden,
        }
    }

    pub(in crate::model) fn vocab(&self) -> usize {
        match self {
            Self::Decoder(config) => config.vocab,
            Self::Encoder(config) => config.vocab,
        }
    }

    /// Longest sequence the model can be run for.
    pub(in crate::model) fn context(&self) -> usize {
        match self {
            Self::Decoder(config) => config.context,
            Self::Encoder(config) => config.context,
        }
    }

    pub(in crate::model) fn saved_dtype(&self) -> Option<&str> {
        match self {
            Self::Decoder(config) => config.saved_dtype.as_deref(),
            Self::Encoder(config) => config.saved_dtype.as_deref(),
        }
    }

    pub(in crate::model) fn eos_token_ids(&self) -> &[u32] {
        match self {
            Self::Decoder(config) => &config.eos_token_ids,
            Self::Encoder(_) => &[],
        }
    }

    /// Keys of the file that nobody knows here.
    pub(in crate::model) fn unknown_keys(&self) -> &[String] {
        match self {
            Self::Decoder(config) => &config.unknown_keys,
            Self::Encoder(config) => &config.unknown_keys,
        }
    }
}

/// The architectures' names.
pub(super) fn names() -> Vec<&'static str> {
    families::names()
        .into_iter()
        .chain(encoder::names())
        .collect()
}
