//! Condition types and their reasons: what `status.conditions` may say.

use std::fmt;

/// Types of conditions, in the order in which status lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// Every pod that should answer does, and none of an older specification is left.
    Ready,
    /// The specification is one that can be carried out.
    Accepted,
    /// The model's files are where the engine reads them.
    ModelAvailable,
    /// Pods are being replaced or added.
    Progressing,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $meaning])+ $variant),+ }

        impl $name {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The reason as it stands in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii()),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

reasons! {
    /// Why a service is ready or is not.
    ReadyReason {
        /// Every pod answers requests.
        Serving,
        /// The model is being downloaded.
        Downloading,
        /// Pods start and load the model.
        Loading,
        /// No node has room for a pod.
        InsufficientCapacity,
        /// An image cannot be pulled.
        ImagePullFailed,
        /// The source refuses the credentials.
        DownloadUnauthorized,
        /// The source has no such model.
        ModelNotFound,
        /// The model cannot be downloaded for another reason.
        DownloadFailed,
        /// A volume cannot be mounted.
        VolumeUnavailable,
        /// The cache is full.
        DiskFull,
        /// The container needs more memory than its limit.
        OutOfMemory,
        /// The container ends again and again.
        CrashLoop,
        /// The model was not loaded in the time allowed.
        StartupTimeout,
        /// Pods of the old specification are being replaced.
        RollingOut,
        /// No pods are asked for.
        ScaledToZero,
        /// The specification is not accepted and there are no pods; see Accepted.
        NotAccepted,
    }

    /// Why a specification is accepted or is not.
    AcceptedReason {
        /// It can be carried out.
        Valid,
        /// Stats are to be reported that are not computed.
        InvalidStats,
        /// A rule is broken, or the API server refuses a child.
        InvalidSpec,
        /// An object of a child's name exists and belongs to someone else.
        NameConflict,
    }

    /// Whether the model's files are there.
    ModelReason {
        /// The model is compiled into the engine.
        BuiltIn,
        /// A pod has loaded it.
        Loaded,
        /// A pod downloads it.
        Downloading,
        /// It cannot be downloaded.
        DownloadFailed,
        /// No pod has loaded it yet.
        NotLoaded,
        /// The volume that holds it cannot be mounted.
        VolumeUnavailable,
        /// The specification is not accepted, so nothing was tried.
        NotAccepted,
    }

    /// Whether pods change.
    ProgressingReason {
        /// Pods are being added or replaced.
        RollingOut,
        /// Every pod is of the current specification.
        Complete,
        /// Pods did not become ready in the time allowed.
        DeadlineExceeded,
        /// The specification is not accepted, so nothing changes.
        NotAccepted,
    }
}

impl ConditionType {
    /// Every type, in order.
    pub const ALL: [Self; 4] = [
        Self::Ready,
        Self::Accepted,
        Self::ModelAvailable,
        Self::Progressing,
    ];

    /// The type as it stands in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Accepted => "Accepted",
            Self::ModelAvailable => "ModelAvailable",
            Self::Progressing => "Progressing",
        }
    }

    /// What it means when it is true.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ready => {
                "Every pod that should answer does, and none of an older specification is left."
            }
            Self::Accepted => "The specification is one that can be carried out.",
            Self::ModelAvailable => "The model's files are where the engine reads them.",
            Self::Progressing => "Pods are being replaced or added.",
        }
    }
}
