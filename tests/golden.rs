//! Every stored format has a golden file, which must keep loading.
