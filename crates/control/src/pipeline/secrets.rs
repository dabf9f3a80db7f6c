//! Which secrets the jobs of a pipeline have, and as which variables. Whether there are such secrets is not known here: they
//! may be set later.

use wire::{
    LabelSet, Problem,
    pipeline::StepSpec,
    secret::{MASKS_LABEL, SECRETS_MAX, SecretName, SecretUse},
};

use super::{
    fields::{Fields, shown, text},
    jobs::{Env, is_variable},
    yaml::{Node, Place, Value},
};

/// Variables that are the executor's, the inputs' or the matrix's.
const TAKEN: [&str; 3] = ["STEPCAST_", "INPUT_", "MATRIX_"];

/// One secret, and where it is named.
#[derive(Clone)]
pub(super) struct Named {
    at: Place,
    wanted: SecretUse,
}

/// `secrets` of the pipeline or of a job: a list of names, or variables with the names of secrets.
pub(super) fn read(fields: &Fields<'_>) -> Result<Vec<Named>, Problem> {
    let Some(node) = fields.get("secrets") else { return Ok(Vec::new()) };
    let what = fields.name_of("secrets");
    let mut all: Vec<Named> = Vec::new();
    let mut add = |at: Place, variable: &str, node: &Node| {
        let secret: SecretName = text(node, &what)?.parse().map_err(|sentence| node.at.problem(sentence))?;
        if !is_variable(variable) || variable == "CI" || TAKEN.iter().any(|taken| variable.starts_with(taken)) {
            return Err(at.problem(format!(
                "variable name `{}` in {what} must be letters, digits or `_`, not beginning with a digit, and neither `CI` nor \
                 begin with `STEPCAST_`, `INPUT_` or `MATRIX_`",
                shown(variable)
            )));
        }
        if all.iter().any(|other| other.wanted.variable == variable) {
            return Err(at.problem(format!("`{}` stands twice in {what}", shown(variable))));
        }
        if all.len() == SECRETS_MAX {
            return Err(at.problem(format!("{what} names more than {SECRETS_MAX} secrets")));
        }
        all.push(Named { at, wanted: SecretUse { variable: variable.to_owned(), secret } });
        Ok(())
    };
    match &node.value {
        Value::List(items) => {
            for item in items {
                add(item.at, text(item, &what)?, item)?;
            }
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                add(key.at, &key.name, item)?;
            }
        }
        _ => {
            return Err(node.at.problem(format!(
                "{what} must be a list of names such as `[API_TOKEN]`, or variables with names such as `{{TOKEN: API_TOKEN}}`, \
                 not {}",
                node.kind()
            )));
        }
    }
    Ok(all)
}

/// The secrets of a job: the pipeline's and its own, which go before. None may have the name of a variable that is set
/// beside it: one of them would be lost.
pub(super) fn of_job(
    shared: &[Named],
    own: &[Named],
    job: &str,
    env: &Env,
    steps: &[StepSpec],
) -> Result<Vec<SecretUse>, Problem> {
    let others = shared.iter().filter(|named| own.iter().all(|one| one.wanted.variable != named.wanted.variable));
    let mut all = Vec::new();
    for Named { at, wanted } in own.iter().chain(others) {
        let variable = &wanted.variable;
        if env.contains_key(variable) || steps.iter().any(|step| step.env.contains_key(variable)) {
            return Err(at.problem(format!(
                "job `{job}` has `{variable}` in `secrets` and in `env`: rename one, as in `secrets: {{OTHER_NAME: {}}}`",
                wanted.secret
            )));
        }
        if all.len() == SECRETS_MAX {
            return Err(at.problem(format!("job `{job}` has more than {SECRETS_MAX} secrets, the pipeline's included")));
        }
        all.push(wanted.clone());
    }
    all.sort();
    Ok(all)
}

/// What a job asks of its executor: that it masks secrets, if it has some.
pub(super) fn with_label(labels: LabelSet, secrets: &[SecretUse], at: Place) -> Result<LabelSet, Problem> {
    if secrets.is_empty() {
        return Ok(labels);
    }
    let all = labels.labels().iter().cloned().chain([MASKS_LABEL.to_owned()]);
    LabelSet::new(all).map_err(|sentence| {
        at.problem(format!("{sentence}, and a job with secrets asks for `{MASKS_LABEL}` by itself"))
    })
}
