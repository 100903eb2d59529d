//! Synthetic FHIR data in the wrapper layout of Microsoft's FHIR server, and NDJSON folders.
