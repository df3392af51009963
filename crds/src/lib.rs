//! The InferenceService API: types, rules, condition types and reasons, names and labels.
