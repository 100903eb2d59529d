//! What resources can be searched by: search parameters of R4, with the elements that they look at (TF-12).

/// A search parameter of one type, or of all.
#[derive(Debug)]
pub struct Parameter {
    pub code: &'static str,
    pub kind: Kind,
    pub paths: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Token,
    /// A token that says whether there is an element, other than `false`.
    Exists,
    /// A reference, perhaps one to resources of a certain type alone.
    Reference(Option<&'static str>),
    Date,
    Uri,
}

impl Kind {
    /// `SearchParameter.type`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Token | Kind::Exists => "token",
            Kind::Reference(_) => "reference",
            Kind::Date => "date",
            Kind::Uri => "uri",
        }
    }
}

/// Parameters that shape the answer of a search (TF-02).
pub const RESULT: [&str; 11] = [
    "_sort",
    "_count",
    "_include",
    "_revinclude",
    "_summary",
    "_total",
    "_elements",
    "_contained",
    "_containedType",
    "_format",
    "_pretty",
];

/// What resources of a type can be searched by.
pub fn of(resource_type: &str) -> impl Iterator<Item = &'static Parameter> {
    let own = TABLE.binary_search_by_key(&resource_type, |(name, _)| name).map_or(&[][..], |index| TABLE[index].1);
    COMMON.iter().chain(own)
}

pub fn find(resource_type: &str, code: &str) -> Option<&'static Parameter> {
    of(resource_type).find(|parameter| parameter.code == code)
}

const fn token(code: &'static str, paths: &'static [&'static str]) -> Parameter {
    Parameter { code, kind: Kind::Token, paths }
}

const fn date(code: &'static str, paths: &'static [&'static str]) -> Parameter {
    Parameter { code, kind: Kind::Date, paths }
}

const fn reference(code: &'static str, paths: &'static [&'static str]) -> Parameter {
    Parameter { code, kind: Kind::Reference(None), paths }
}

const fn patient(paths: &'static [&'static str]) -> Parameter {
    Parameter { code: "patient", kind: Kind::Reference(Some("Patient")), paths }
}

const COMMON: &[Parameter] = &[
    token("_id", &["id"]),
    date("_lastUpdated", &[]),
    Parameter { code: "_profile", kind: Kind::Uri, paths: &["meta.profile"] },
    token("_security", &["meta.security"]),
    token("_tag", &["meta.tag"]),
];

const IDENTIFIER: Parameter = token("identifier", &["identifier"]);
const STATUS: Parameter = token("status", &["status"]);
const CATEGORY: Parameter = token("category", &["category"]);
const CODE: Parameter = token("code", &["code"]);
const TYPE: Parameter = token("type", &["type"]);
const INTENT: Parameter = token("intent", &["intent"]);
const ACTIVE: Parameter = token("active", &["active"]);
const SUBJECT: Parameter = reference("subject", &["subject"]);
const ENCOUNTER: Parameter = reference("encounter", &["encounter"]);
const OF_SUBJECT: Parameter = patient(&["subject"]);
const OF_PATIENT: Parameter = patient(&["patient"]);
const PERIOD: Parameter = date("date", &["period"]);

/// In the order of the types.
const TABLE: &[(&str, &[Parameter])] = &[
    (
        "AllergyIntolerance",
        &[
            CATEGORY,
            token("clinical-status", &["clinicalStatus"]),
            token("code", &["code", "reaction.substance"]),
            token("criticality", &["criticality"]),
            date("date", &["recordedDate"]),
            IDENTIFIER,
            OF_PATIENT,
            TYPE,
            token("verification-status", &["verificationStatus"]),
        ],
    ),
    ("Appointment", &[date("date", &["start"]), IDENTIFIER, patient(&["participant.actor"]), STATUS]),
    ("CarePlan", &[CATEGORY, PERIOD, ENCOUNTER, IDENTIFIER, INTENT, OF_SUBJECT, STATUS, SUBJECT]),
    ("CareTeam", &[CATEGORY, PERIOD, ENCOUNTER, IDENTIFIER, OF_SUBJECT, STATUS, SUBJECT]),
    ("Claim", &[date("created", &["created"]), IDENTIFIER, OF_PATIENT, STATUS, token("use", &["use"])]),
    (
        "Condition",
        &[
            CATEGORY,
            token("clinical-status", &["clinicalStatus"]),
            CODE,
            ENCOUNTER,
            IDENTIFIER,
            date("onset-date", &["onsetDateTime", "onsetPeriod"]),
            OF_SUBJECT,
            date("recorded-date", &["recordedDate"]),
            token("severity", &["severity"]),
            SUBJECT,
            token("verification-status", &["verificationStatus"]),
        ],
    ),
    ("Coverage", &[reference("beneficiary", &["beneficiary"]), IDENTIFIER, patient(&["beneficiary"]), STATUS, TYPE]),
    ("Device", &[IDENTIFIER, OF_PATIENT, STATUS, TYPE]),
    (
        "DiagnosticReport",
        &[
            CATEGORY,
            CODE,
            date("date", &["effectiveDateTime", "effectivePeriod"]),
            ENCOUNTER,
            IDENTIFIER,
            date("issued", &["issued"]),
            OF_SUBJECT,
            STATUS,
            SUBJECT,
        ],
    ),
    (
        "DocumentReference",
        &[
            CATEGORY,
            date("date", &["date"]),
            reference("encounter", &["context.encounter"]),
            token("identifier", &["masterIdentifier", "identifier"]),
            OF_SUBJECT,
            date("period", &["context.period"]),
            STATUS,
            SUBJECT,
            TYPE,
        ],
    ),
    ("Encounter", &[token("class", &["class"]), PERIOD, IDENTIFIER, OF_SUBJECT, STATUS, SUBJECT, TYPE]),
    ("EpisodeOfCare", &[PERIOD, IDENTIFIER, OF_PATIENT, STATUS, TYPE]),
    ("ExplanationOfBenefit", &[date("created", &["created"]), IDENTIFIER, OF_PATIENT, STATUS]),
    ("Goal", &[CATEGORY, IDENTIFIER, token("lifecycle-status", &["lifecycleStatus"]), OF_SUBJECT, SUBJECT]),
    ("Group", &[token("actual", &["actual"]), CODE, IDENTIFIER, TYPE]),
    (
        "Immunization",
        &[
            date("date", &["occurrenceDateTime"]),
            IDENTIFIER,
            OF_PATIENT,
            STATUS,
            token("vaccine-code", &["vaccineCode"]),
        ],
    ),
    ("Location", &[IDENTIFIER, STATUS, TYPE]),
    ("Medication", &[CODE, IDENTIFIER, STATUS]),
    (
        "MedicationAdministration",
        &[
            token("code", &["medicationCodeableConcept"]),
            date("effective-time", &["effectiveDateTime", "effectivePeriod"]),
            IDENTIFIER,
            OF_SUBJECT,
            STATUS,
            SUBJECT,
        ],
    ),
    (
        "MedicationRequest",
        &[
            date("authoredon", &["authoredOn"]),
            CATEGORY,
            token("code", &["medicationCodeableConcept"]),
            ENCOUNTER,
            IDENTIFIER,
            INTENT,
            OF_SUBJECT,
            token("priority", &["priority"]),
            STATUS,
            SUBJECT,
        ],
    ),
    (
        "Observation",
        &[
            CATEGORY,
            CODE,
            // A schedule has no one span.
            date("date", &["effectiveDateTime", "effectiveInstant", "effectivePeriod"]),
            ENCOUNTER,
            IDENTIFIER,
            OF_SUBJECT,
            reference("performer", &["performer"]),
            STATUS,
            SUBJECT,
        ],
    ),
    ("Organization", &[ACTIVE, IDENTIFIER, TYPE]),
    (
        "Patient",
        &[
            ACTIVE,
            date("birthdate", &["birthDate"]),
            Parameter { code: "deceased", kind: Kind::Exists, paths: &["deceasedBoolean", "deceasedDateTime"] },
            token("gender", &["gender"]),
            reference("general-practitioner", &["generalPractitioner"]),
            IDENTIFIER,
            reference("organization", &["managingOrganization"]),
        ],
    ),
    ("Practitioner", &[ACTIVE, token("gender", &["gender"]), IDENTIFIER]),
    (
        "Procedure",
        &[
            CATEGORY,
            CODE,
            date("date", &["performedDateTime", "performedPeriod"]),
            ENCOUNTER,
            IDENTIFIER,
            OF_SUBJECT,
            STATUS,
            SUBJECT,
        ],
    ),
    ("Provenance", &[patient(&["target"]), date("recorded", &["recorded"]), reference("target", &["target"])]),
    ("QuestionnaireResponse", &[date("authored", &["authored"]), ENCOUNTER, IDENTIFIER, OF_SUBJECT, STATUS, SUBJECT]),
    ("RelatedPerson", &[ACTIVE, IDENTIFIER, OF_PATIENT]),
    (
        "ServiceRequest",
        &[
            date("authored", &["authoredOn"]),
            CATEGORY,
            CODE,
            ENCOUNTER,
            IDENTIFIER,
            INTENT,
            OF_SUBJECT,
            token("priority", &["priority"]),
            STATUS,
            SUBJECT,
        ],
    ),
    ("Specimen", &[IDENTIFIER, OF_SUBJECT, STATUS, SUBJECT, TYPE]),
];

#[cfg(test)]
mod tests {
    use super::super::super::resource_type::ResourceType;
    use super::*;

    #[test]
    fn the_table_is_in_order_and_of_types_that_there_are() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(TABLE.iter().all(|(name, _)| ResourceType::parse(name).unwrap().known()));
        for (name, _) in TABLE {
            let codes: Vec<_> = of(name).map(|parameter| parameter.code).collect();
            assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{name}: {codes:?}");
        }
        assert!(find("Basic", "_id").is_some() && find("Basic", "code").is_none());
    }
}
