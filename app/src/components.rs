//! What pages are made of, one noun per file. A component knows its own data and what it asks; which page it stands on
//! it does not know.

pub mod ansi;
pub mod artifact_list;
pub mod build_actions;
pub mod build_list;
pub mod clock;
pub mod connection;
pub mod copy_button;
pub mod duration;
pub mod estimate;
pub mod header;
pub mod heights;
pub mod job_graph;
pub mod job_list;
pub mod log_fetch;
pub mod log_marks;
pub mod log_panel;
pub mod log_range;
pub mod log_row;
pub mod log_rows;
pub mod log_search;
pub mod log_view;
pub mod neighbours;
pub mod page_data;
pub mod pipeline_list;
pub mod problem_note;
pub mod scroll;
pub mod shortcuts;
pub mod status;
pub mod step_list;
pub mod theme;
pub mod time;
pub mod trigger_form;
pub mod welcome;
pub mod yaml_editor;
