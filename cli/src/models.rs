//! `onerun models`: checks the configured models.

use std::{fmt::Write as _, process::ExitCode};

use clap::Subcommand;
use onerun_domain::{ModelName, Purpose};
use onerun_server::{Checked, Config, check_models};

use crate::{output, text::plain};

/// The longest excerpt of an answer, in characters.
const MAX_EXCERPT: usize = 120;

pub(crate) const AFTER_HELP: &str = "\
Variables:
  ONERUN_MODEL             the model for everything: `offline`, or `provider:model` with the provider `openai`
                           (any server that speaks chat completions), `anthropic` or `bedrock`; for judging alone also
                           `openai-decisions` (any server that speaks OpenAI's decisions)
  ONERUN_PERSONA_MODEL, ONERUN_REPLY_MODEL, ONERUN_JUDGE_MODEL
                           the model for one purpose, if it differs
  OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, AWS_REGION and AWS's credentials
                           how to reach a provider; OPENAI_API_KEY_FILE and ANTHROPIC_API_KEY_FILE name files

Examples:
  ONERUN_MODEL=openai:gpt-5.4-mini OPENAI_API_KEY=sk-… onerun models check
  OPENAI_BASE_URL=http://127.0.0.1:11434/v1 onerun models check --model openai:llama3.2

Exit codes: 0 all work, 1 one does not, 2 invalid arguments or variables";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask each configured model for one persona, one reply and one verdict, and show what that cost.
    #[command(after_help = AFTER_HELP)]
    Check {
        /// Use this model for everything, instead of those of the environment.
        #[arg(long, value_name = "PROVIDER:MODEL")]
        model: Option<ModelName>,
    },
}

pub(crate) async fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Check { model } = command;
    let config = match Config::with_models_of_env(model.as_ref()) {
        Ok(config) => config,
        Err(error) => {
            output::print_error(&error.into());
            return Ok(ExitCode::from(2));
        }
    };
    let mut printed = Ok(());
    let mut failed = false;
    check_models(&config, |checked| {
        failed |= checked.answer.is_err();
        // Each call takes seconds, so each result is shown at once.
        if printed.is_ok() {
            printed = output::print(&line(checked));
        }
    })
    .await?;
    printed?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn line(checked: &Checked) -> String {
    let Checked { model, purpose, answer, usage, elapsed, retires } = checked;
    let what = match purpose {
        Purpose::Persona => "persona",
        Purpose::Reply => "reply",
        Purpose::Judge => "verdict",
    };
    let mark = if answer.is_ok() { "ok  " } else { "FAIL" };
    let mut text = format!("{mark} {what:<8} {}  {:.1} s", plain(&model.to_string()), elapsed.as_secs_f64());
    if usage.calls > 0 {
        let tokens = usage.tokens;
        let read = tokens.input + tokens.cached_input + tokens.cache_write;
        _ = write!(text, ", {read} tokens in, {} out, ", tokens.output);
        text.push_str(&match usage.unpriced_calls {
            0 => usage.cost.to_string(),
            _ => "cost unknown".to_owned(),
        });
    }
    if usage.failed_calls > 0 && answer.is_ok() {
        text.push_str(", after one repair");
    }
    text.push('\n');
    match answer {
        Ok(answer) => {
            let mut excerpt: String = answer.chars().take(MAX_EXCERPT).collect();
            if excerpt.len() < answer.len() {
                excerpt.push('…');
            }
            _ = writeln!(text, "     {}", plain(&excerpt));
        }
        Err(error) => _ = writeln!(text, "     {}", plain(&error.to_string())),
    }
    if let Some(date) = retires {
        _ = writeln!(text, "     this model retires on {date}: choose another one");
    }
    if usage.unpriced_calls > 0 {
        text.push_str(
            "     no price is known for it, so cost limits are refused: add one with ONERUN_PRICES_FILE\n",
        );
    }
    text
}
