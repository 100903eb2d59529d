//! The name of a FHIR resource type.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::release::Release;

/// A resource type's name, valid in form: safe in a file name and in a header.
///
/// The store decides which types exist, so a type that no list knows (from another FHIR release) is exported like any
/// other; only what clients ask for is checked against [`ResourceType::is_of`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceType(Arc<str>);

/// The text is no resource type name.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAResourceType;

impl ResourceType {
    /// An upper-case letter, then letters: at most 64.
    pub fn parse(text: &str) -> Result<Self, NotAResourceType> {
        if Self::is_name(text) { Ok(Self(text.into())) } else { Err(NotAResourceType) }
    }

    /// Whether this could be the name of a type.
    pub fn is_name(text: &str) -> bool {
        let letters = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphabetic());
        letters && text.starts_with(|c: char| c.is_ascii_uppercase())
    }

    /// The type of the lines in `deleted` files.
    pub fn bundle() -> Self {
        Self("Bundle".into())
    }

    pub fn patient() -> Self {
        Self("Patient".into())
    }

    /// The type of the lines in `error` files.
    pub fn operation_outcome() -> Self {
        Self("OperationOutcome".into())
    }

    /// Whether a FHIR release from R4 to R5 stores resources of this type.
    pub fn known(&self) -> bool {
        KNOWN.binary_search(&self.as_str()).is_ok()
    }

    /// Whether this release stores resources of this type.
    pub fn is_of(&self, release: Release) -> bool {
        self.known() && is_in(self.as_str(), release)
    }

    /// The names of the types of a release, sorted.
    pub fn names(release: Release) -> impl Iterator<Item = &'static str> {
        KNOWN.iter().copied().filter(move |name| is_in(name, release))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ResourceType {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).map_err(|NotAResourceType| "not a resource type")
    }
}

impl From<ResourceType> for String {
    fn from(name: ResourceType) -> Self {
        name.0.as_ref().into()
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_in(name: &str, release: Release) -> bool {
    let absent: [&[&str]; 2] = match release {
        Release::R4 => [SINCE_R4B, SINCE_R5],
        Release::R4B => [SINCE_R5, NOT_IN_R4B],
        Release::R5 => [NOT_IN_R5, &[]],
    };
    !absent.iter().any(|names| names.contains(&name))
}

/// The resource types of R4, R4B and R5 that a server stores, sorted. `OperationOutcome` and `Parameters` are not.
const KNOWN: &[&str] = &[
    "Account",
    "ActivityDefinition",
    "ActorDefinition",
    "AdministrableProductDefinition",
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AppointmentResponse",
    "ArtifactAssessment",
    "AuditEvent",
    "Basic",
    "Binary",
    "BiologicallyDerivedProduct",
    "BiologicallyDerivedProductDispense",
    "BodyStructure",
    "Bundle",
    "CapabilityStatement",
    "CarePlan",
    "CareTeam",
    "CatalogEntry",
    "ChargeItem",
    "ChargeItemDefinition",
    "Citation",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "ClinicalUseDefinition",
    "CodeSystem",
    "Communication",
    "CommunicationRequest",
    "CompartmentDefinition",
    "Composition",
    "ConceptMap",
    "Condition",
    "ConditionDefinition",
    "Consent",
    "Contract",
    "Coverage",
    "CoverageEligibilityRequest",
    "CoverageEligibilityResponse",
    "DetectedIssue",
    "Device",
    "DeviceAssociation",
    "DeviceDefinition",
    "DeviceDispense",
    "DeviceMetric",
    "DeviceRequest",
    "DeviceUsage",
    "DeviceUseStatement",
    "DiagnosticReport",
    "DocumentManifest",
    "DocumentReference",
    "EffectEvidenceSynthesis",
    "Encounter",
    "EncounterHistory",
    "Endpoint",
    "EnrollmentRequest",
    "EnrollmentResponse",
    "EpisodeOfCare",
    "EventDefinition",
    "Evidence",
    "EvidenceReport",
    "EvidenceVariable",
    "ExampleScenario",
    "ExplanationOfBenefit",
    "FamilyMemberHistory",
    "Flag",
    "FormularyItem",
    "GenomicStudy",
    "Goal",
    "GraphDefinition",
    "Group",
    "GuidanceResponse",
    "HealthcareService",
    "ImagingSelection",
    "ImagingStudy",
    "Immunization",
    "ImmunizationEvaluation",
    "ImmunizationRecommendation",
    "ImplementationGuide",
    "Ingredient",
    "InsurancePlan",
    "InventoryItem",
    "InventoryReport",
    "Invoice",
    "Library",
    "Linkage",
    "List",
    "Location",
    "ManufacturedItemDefinition",
    "Measure",
    "MeasureReport",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationKnowledge",
    "MedicationRequest",
    "MedicationStatement",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductDefinition",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "MessageDefinition",
    "MessageHeader",
    "MolecularSequence",
    "NamingSystem",
    "NutritionIntake",
    "NutritionOrder",
    "NutritionProduct",
    "Observation",
    "ObservationDefinition",
    "OperationDefinition",
    "Organization",
    "OrganizationAffiliation",
    "PackagedProductDefinition",
    "Patient",
    "PaymentNotice",
    "PaymentReconciliation",
    "Permission",
    "Person",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "Questionnaire",
    "QuestionnaireResponse",
    "RegulatedAuthorization",
    "RelatedPerson",
    "RequestGroup",
    "RequestOrchestration",
    "Requirements",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "RiskEvidenceSynthesis",
    "Schedule",
    "SearchParameter",
    "ServiceRequest",
    "Slot",
    "Specimen",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Subscription",
    "SubscriptionStatus",
    "SubscriptionTopic",
    "Substance",
    "SubstanceDefinition",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
    "SupplyDelivery",
    "SupplyRequest",
    "Task",
    "TerminologyCapabilities",
    "TestPlan",
    "TestReport",
    "TestScript",
    "Transport",
    "ValueSet",
    "VerificationResult",
    "VisionPrescription",
];

/// Types that came with R4B.
const SINCE_R4B: &[&str] = &[
    "AdministrableProductDefinition",
    "Citation",
    "ClinicalUseDefinition",
    "EvidenceReport",
    "Ingredient",
    "ManufacturedItemDefinition",
    "MedicinalProductDefinition",
    "NutritionProduct",
    "PackagedProductDefinition",
    "RegulatedAuthorization",
    "SubscriptionStatus",
    "SubscriptionTopic",
    "SubstanceDefinition",
];

/// Types that came with R5.
const SINCE_R5: &[&str] = &[
    "ActorDefinition",
    "ArtifactAssessment",
    "BiologicallyDerivedProductDispense",
    "ConditionDefinition",
    "DeviceAssociation",
    "DeviceDispense",
    "DeviceUsage",
    "EncounterHistory",
    "FormularyItem",
    "GenomicStudy",
    "ImagingSelection",
    "InventoryItem",
    "InventoryReport",
    "NutritionIntake",
    "Permission",
    "RequestOrchestration",
    "Requirements",
    "TestPlan",
    "Transport",
];

/// Types of R4 that R4B has not; some of them are in R5 again.
const NOT_IN_R4B: &[&str] = &[
    "EffectEvidenceSynthesis",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "RiskEvidenceSynthesis",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
];

/// Types of R4 or R4B that R5 has not.
const NOT_IN_R5: &[&str] = &[
    "CatalogEntry",
    "DeviceUseStatement",
    "DocumentManifest",
    "EffectEvidenceSynthesis",
    "Media",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "RequestGroup",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "RiskEvidenceSynthesis",
    "SubstanceSpecification",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_a_search_finds_every_entry() {
        assert!(KNOWN.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(KNOWN.iter().all(|name| ResourceType::parse(name).unwrap().known()));
        assert!(!ResourceType::operation_outcome().known());
    }

    #[test]
    fn a_name_is_letters_only() {
        for bad in ["", "patient", "Patient;DROP", "../Patient", "Pati ent", "Patient1", &"P".repeat(65)] {
            assert_eq!(ResourceType::parse(bad), Err(NotAResourceType), "{bad}");
        }
        assert!(!ResourceType::parse("Foo").unwrap().known());
    }

    #[test]
    fn each_release_has_its_types() {
        // Of the types of each release, OperationOutcome and Parameters are not stored.
        for (release, count) in [(Release::R4, 144), (Release::R4B, 139), (Release::R5, 156)] {
            assert_eq!(ResourceType::names(release).count(), count);
        }
        for names in [SINCE_R4B, SINCE_R5, NOT_IN_R4B, NOT_IN_R5] {
            assert!(names.windows(2).all(|pair| pair[0] < pair[1]) && names.iter().all(|name| KNOWN.contains(name)));
        }
        let is_of = |name: &str| Release::ALL.map(|release| ResourceType::parse(name).unwrap().is_of(release));
        assert_eq!(is_of("Patient"), [true, true, true]);
        assert_eq!(is_of("NutritionProduct"), [false, true, true]);
        assert_eq!(is_of("GenomicStudy"), [false, false, true]);
        assert_eq!(is_of("MedicinalProduct"), [true, false, false]);
        assert_eq!(is_of("SubstancePolymer"), [true, false, true]);
        assert_eq!(is_of("Media"), [true, true, false]);
        assert_eq!(is_of("Foo"), [false, false, false]);
    }
}
