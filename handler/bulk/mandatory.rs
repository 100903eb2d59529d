//! What every resource of a type has, and what changes the meaning of others: root elements that are never left out (PR-43).

use super::release::Release;

/// A type and its root elements; those with a choice of types by the name that they have in common.
type Table = [(&'static str, &'static [&'static str])];

/// The elements that every resource of a type has in a release.
pub fn of(release: Release, resource_type: &str) -> &'static [&'static str] {
    let found = |table: &'static Table| {
        let index = table.binary_search_by_key(&resource_type, |(name, _)| name).ok()?;
        Some(table[index].1)
    };
    let newer = match release {
        Release::R4 => None,
        Release::R4B => found(R4B),
        Release::R5 => found(R5),
    };
    newer.or_else(|| found(R4)).unwrap_or_default()
}

/// In the order of the types.
const R4: &Table = &[
    ("Account", &["status"]),
    ("ActivityDefinition", &["status"]),
    ("AdverseEvent", &["actuality", "subject"]),
    ("AllergyIntolerance", &["patient"]),
    ("Appointment", &["participant", "status"]),
    ("AppointmentResponse", &["appointment", "participantStatus"]),
    ("AuditEvent", &["agent", "recorded", "source", "type"]),
    ("Basic", &["code"]),
    ("Binary", &["contentType"]),
    ("BodyStructure", &["patient"]),
    ("Bundle", &["type"]),
    ("CapabilityStatement", &["date", "fhirVersion", "format", "kind", "status"]),
    ("CarePlan", &["intent", "status", "subject"]),
    ("CatalogEntry", &["orderable", "referencedItem"]),
    ("ChargeItem", &["code", "status", "subject"]),
    ("ChargeItemDefinition", &["status", "url"]),
    ("Claim", &["created", "insurance", "patient", "priority", "provider", "status", "type", "use"]),
    ("ClaimResponse", &["created", "insurer", "outcome", "patient", "status", "type", "use"]),
    ("ClinicalImpression", &["status", "subject"]),
    ("CodeSystem", &["content", "status"]),
    ("Communication", &["status"]),
    ("CommunicationRequest", &["status"]),
    ("CompartmentDefinition", &["code", "name", "search", "status", "url"]),
    ("Composition", &["author", "date", "status", "title", "type"]),
    ("ConceptMap", &["status"]),
    ("Condition", &["subject"]),
    ("Consent", &["category", "scope", "status"]),
    ("Coverage", &["beneficiary", "payor", "status"]),
    ("CoverageEligibilityRequest", &["created", "insurer", "patient", "purpose", "status"]),
    ("CoverageEligibilityResponse", &["created", "insurer", "outcome", "patient", "purpose", "request", "status"]),
    ("DetectedIssue", &["status"]),
    ("DeviceMetric", &["category", "type"]),
    ("DeviceRequest", &["code", "intent", "subject"]),
    ("DeviceUseStatement", &["device", "status", "subject"]),
    ("DiagnosticReport", &["code", "status"]),
    ("DocumentManifest", &["content", "status"]),
    ("DocumentReference", &["content", "status"]),
    ("EffectEvidenceSynthesis", &["exposure", "exposureAlternative", "outcome", "population", "status"]),
    ("Encounter", &["class", "status"]),
    ("Endpoint", &["address", "connectionType", "payloadType", "status"]),
    ("EpisodeOfCare", &["patient", "status"]),
    ("EventDefinition", &["status", "trigger"]),
    ("Evidence", &["exposureBackground", "status"]),
    ("EvidenceVariable", &["characteristic", "status"]),
    ("ExampleScenario", &["status"]),
    (
        "ExplanationOfBenefit",
        &["created", "insurance", "insurer", "outcome", "patient", "provider", "status", "type", "use"],
    ),
    ("FamilyMemberHistory", &["patient", "relationship", "status"]),
    ("Flag", &["code", "status", "subject"]),
    ("Goal", &["description", "lifecycleStatus", "subject"]),
    ("GraphDefinition", &["name", "start", "status"]),
    ("Group", &["actual", "type"]),
    ("GuidanceResponse", &["module", "status"]),
    ("ImagingStudy", &["status", "subject"]),
    ("Immunization", &["occurrence", "patient", "status", "vaccineCode"]),
    ("ImmunizationEvaluation", &["doseStatus", "immunizationEvent", "patient", "status", "targetDisease"]),
    ("ImmunizationRecommendation", &["date", "patient", "recommendation"]),
    ("ImplementationGuide", &["fhirVersion", "name", "packageId", "status", "url"]),
    ("Invoice", &["status"]),
    ("Library", &["status", "type"]),
    ("Linkage", &["item"]),
    ("List", &["mode", "status"]),
    ("Measure", &["status"]),
    ("MeasureReport", &["measure", "period", "status", "type"]),
    ("Media", &["content", "status"]),
    ("MedicationAdministration", &["effective", "medication", "status", "subject"]),
    ("MedicationDispense", &["medication", "status"]),
    ("MedicationRequest", &["intent", "medication", "status", "subject"]),
    ("MedicationStatement", &["medication", "status", "subject"]),
    ("MedicinalProduct", &["name"]),
    ("MedicinalProductIngredient", &["role"]),
    ("MedicinalProductManufactured", &["manufacturedDoseForm", "quantity"]),
    ("MedicinalProductPackaged", &["packageItem"]),
    ("MedicinalProductPharmaceutical", &["administrableDoseForm", "routeOfAdministration"]),
    ("MessageDefinition", &["date", "event", "status"]),
    ("MessageHeader", &["event", "source"]),
    ("MolecularSequence", &["coordinateSystem"]),
    ("NamingSystem", &["date", "kind", "name", "status", "uniqueId"]),
    ("NutritionOrder", &["dateTime", "intent", "patient", "status"]),
    ("Observation", &["code", "status"]),
    ("ObservationDefinition", &["code"]),
    ("OperationDefinition", &["code", "instance", "kind", "name", "status", "system", "type"]),
    ("PaymentNotice", &["amount", "created", "payment", "recipient", "status"]),
    ("PaymentReconciliation", &["created", "paymentAmount", "paymentDate", "status"]),
    ("PlanDefinition", &["status"]),
    ("Procedure", &["status", "subject"]),
    ("Provenance", &["agent", "recorded", "target"]),
    ("Questionnaire", &["status"]),
    ("QuestionnaireResponse", &["status"]),
    ("RelatedPerson", &["patient"]),
    ("RequestGroup", &["intent", "status"]),
    ("ResearchDefinition", &["population", "status"]),
    ("ResearchElementDefinition", &["characteristic", "status", "type"]),
    ("ResearchStudy", &["status"]),
    ("ResearchSubject", &["individual", "status", "study"]),
    ("RiskAssessment", &["status", "subject"]),
    ("RiskEvidenceSynthesis", &["outcome", "population", "status"]),
    ("Schedule", &["actor"]),
    ("SearchParameter", &["base", "code", "description", "name", "status", "type", "url"]),
    ("ServiceRequest", &["intent", "status", "subject"]),
    ("Slot", &["end", "schedule", "start", "status"]),
    ("StructureDefinition", &["abstract", "kind", "name", "status", "type", "url"]),
    ("StructureMap", &["group", "name", "status", "url"]),
    ("Subscription", &["channel", "criteria", "reason", "status"]),
    ("Substance", &["code"]),
    ("SupplyRequest", &["item", "quantity"]),
    ("Task", &["intent", "status"]),
    ("TerminologyCapabilities", &["date", "kind", "status"]),
    ("TestReport", &["result", "status", "testScript"]),
    ("TestScript", &["name", "status", "url"]),
    ("ValueSet", &["status"]),
    ("VerificationResult", &["status"]),
    ("VisionPrescription", &["created", "dateWritten", "lensSpecification", "patient", "prescriber", "status"]),
];

/// Where it is not as in R4.
const R4B: &Table = &[
    ("AdministrableProductDefinition", &["routeOfAdministration", "status"]),
    ("Citation", &["status"]),
    ("ClinicalUseDefinition", &["type"]),
    ("Evidence", &["status", "variableDefinition"]),
    ("EvidenceReport", &["status", "subject"]),
    ("EvidenceVariable", &["status"]),
    ("Ingredient", &["role", "status", "substance"]),
    ("ManufacturedItemDefinition", &["manufacturedDoseForm", "status"]),
    ("MedicinalProductDefinition", &["name"]),
    ("NutritionProduct", &["status"]),
    ("SubscriptionStatus", &["subscription", "type"]),
    ("SubscriptionTopic", &["status", "url"]),
];

/// Where it is not as in R4.
const R5: &Table = &[
    ("ActorDefinition", &["status", "type"]),
    ("AdministrableProductDefinition", &["routeOfAdministration", "status"]),
    ("AdverseEvent", &["actuality", "status", "subject"]),
    ("AuditEvent", &["agent", "code", "recorded", "source"]),
    ("BiologicallyDerivedProductDispense", &["patient", "product", "status"]),
    ("BodyStructure", &["includedStructure", "patient"]),
    ("ChargeItemDefinition", &["status"]),
    ("Citation", &["status"]),
    ("Claim", &["created", "patient", "status", "type", "use"]),
    ("ClaimResponse", &["created", "outcome", "patient", "status", "type", "use"]),
    ("ClinicalUseDefinition", &["type"]),
    ("CommunicationRequest", &["intent", "status"]),
    ("Condition", &["clinicalStatus", "subject"]),
    ("ConditionDefinition", &["code", "status"]),
    ("Consent", &["status"]),
    ("Coverage", &["beneficiary", "kind", "status"]),
    ("DeviceAssociation", &["device", "status"]),
    ("DeviceDispense", &["device", "status", "subject"]),
    ("DeviceMetric", &["category", "device", "type"]),
    ("DeviceUsage", &["device", "patient", "status"]),
    ("Encounter", &["status"]),
    ("EncounterHistory", &["class", "status"]),
    ("Endpoint", &["address", "connectionType", "status"]),
    ("Evidence", &["status", "variableDefinition"]),
    ("EvidenceReport", &["status", "subject"]),
    ("EvidenceVariable", &["status"]),
    ("ExplanationOfBenefit", &["created", "outcome", "patient", "status", "type", "use"]),
    ("GenomicStudy", &["status", "subject"]),
    ("GraphDefinition", &["name", "status"]),
    ("Group", &["membership", "type"]),
    ("ImagingSelection", &["code", "status"]),
    ("Ingredient", &["role", "status", "substance"]),
    ("InventoryItem", &["status"]),
    ("InventoryReport", &["countType", "reportedDateTime", "status"]),
    ("ManufacturedItemDefinition", &["manufacturedDoseForm", "status"]),
    ("MeasureReport", &["period", "status", "type"]),
    ("MedicationAdministration", &["medication", "occurence", "status", "subject"]),
    ("MedicationDispense", &["medication", "status", "subject"]),
    ("MedicinalProductDefinition", &["name"]),
    ("MolecularSequence", &[]),
    ("NutritionIntake", &["consumedItem", "status", "subject"]),
    ("NutritionOrder", &["dateTime", "intent", "status", "subject"]),
    ("NutritionProduct", &["status"]),
    ("ObservationDefinition", &["code", "status"]),
    ("PaymentNotice", &["amount", "created", "recipient", "status"]),
    ("PaymentReconciliation", &["amount", "created", "date", "status", "type"]),
    ("Permission", &["combining", "status"]),
    ("Provenance", &["agent", "target"]),
    ("QuestionnaireResponse", &["questionnaire", "status"]),
    ("RequestOrchestration", &["intent", "status"]),
    ("Requirements", &["status"]),
    ("ResearchSubject", &["status", "study", "subject"]),
    ("SpecimenDefinition", &["status"]),
    ("Subscription", &["channelType", "status", "topic"]),
    ("SubscriptionStatus", &["subscription", "type"]),
    ("SubscriptionTopic", &["status", "url"]),
    ("Substance", &["code", "instance"]),
    ("TestPlan", &["status"]),
    ("TestScript", &["name", "status"]),
    ("Transport", &["currentLocation", "intent", "requestedLocation"]),
];

#[cfg(test)]
mod tests {
    use super::super::resource_type::ResourceType;
    use super::*;

    #[test]
    fn the_tables_are_sorted_so_that_a_search_finds_every_entry() {
        for (release, table) in [(Release::R4, R4), (Release::R4B, R4B), (Release::R5, R5)] {
            assert!(table.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(table.iter().all(|(name, _)| ResourceType::parse(name).unwrap().is_of(release)), "{release:?}");
            assert!(table.iter().all(|(_, elements)| elements.windows(2).all(|pair| pair[0] < pair[1])));
        }
    }

    #[test]
    fn each_release_has_its_own() {
        assert_eq!(of(Release::R4, "Encounter"), ["class", "status"]);
        assert_eq!(of(Release::R4B, "Encounter"), ["class", "status"]);
        assert_eq!(of(Release::R5, "Encounter"), ["status"]);
        assert_eq!(of(Release::R4B, "Evidence"), ["status", "variableDefinition"]);
        assert_eq!(of(Release::R5, "Observation"), of(Release::R4, "Observation"));
        assert_eq!(of(Release::R5, "Foo"), [""; 0]);
    }
}
