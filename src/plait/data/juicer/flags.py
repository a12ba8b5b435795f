"""Settings of Data-Juicer 1.6.1 and of its first releases: what has a meaning here, and why the others have none."""

from __future__ import annotations

from collections.abc import Mapping

MAPPED = frozenset(
    {
        "project_name", "dataset_path", "dataset", "export_path", "export_type", "export_shard_size", "text_keys", "np",
        "process", "open_tracer", "trace_num", "op_list_to_trace", "trace_keys", "suffixes", "add_suffix",
        "keep_stats_in_res_ds", "keep_hashes_in_res_ds", "executor_type", "ray_address", "validators", "percentiles",
    }
)  # fmt: skip
"""Settings that become part of a `plait.data.juicer.JuicerRecipe`."""

_ALWAYS_KEPT = "finished work is always kept and used again"
_FUSED = "operations between two barriers always run as one pass"
_PLANNED = "sizes and workers follow from the data and the machine"
_STRICT = "a record that cannot be read is quarantined and counted, never skipped"
_RUN_FOLDER = "everything lies in the run's folder"
_MEDIA = "images, audio and video are not worked on"
_SANDBOX = "belongs to the sandbox and tuning tools"

IGNORED: Mapping[str, str] = {
    "use_cache": _ALWAYS_KEPT,
    "ds_cache_dir": _ALWAYS_KEPT,
    "cache_compress": _ALWAYS_KEPT,
    "use_checkpoint": _ALWAYS_KEPT,
    "checkpoint": _ALWAYS_KEPT,
    "checkpoint_dir": _ALWAYS_KEPT,
    "resume": _ALWAYS_KEPT,
    "op_fusion": _FUSED,
    "fusion_strategy": _FUSED,
    "mapper_fusion": _FUSED,
    "mapper_fusion_vram_limit": _FUSED,
    "use_dag": _FUSED,
    "turbo": _PLANNED,
    "adaptive_batch_size": _PLANNED,
    "auto_op_parallelism": _PLANNED,
    "elastic_juicer_adaptive_batching": _PLANNED,
    "elastic_juicer_profile_seed": _PLANNED,
    "export_in_parallel": _PLANNED,
    "read_options": _PLANNED,
    "override_num_blocks": _PLANNED,
    "partition": _PLANNED,
    "partition_size": _PLANNED,
    "partition_dir": _PLANNED,
    "intermediate_storage": _PLANNED,
    "load_dataset_kwargs": _PLANNED,
    "min_common_dep_num_to_combine": "ops need no environments of their own",
    "conflict_resolve_strategy": "ops need no environments of their own",
    "skip_op_error": _STRICT,
    "load_jsonl_lenient": _STRICT,
    "strict_preflight": "recipes are always checked before any work",
    "work_dir": _RUN_FOLDER,
    "job_id": _RUN_FOLDER,
    "temp_dir": _RUN_FOLDER,
    "event_logging": _RUN_FOLDER,
    "event_log_dir": _RUN_FOLDER,
    "max_log_size_mb": _RUN_FOLDER,
    "backup_count": _RUN_FOLDER,
    "open_monitor": "seconds and memory are always in the report",
    "open_insight_mining": "the report always shows what each operation changed",
    "op_list_to_mine": "the report always shows what each operation changed",
    "debug": "use --debug on the command line",
    "image_key": _MEDIA,
    "image_bytes_key": _MEDIA,
    "image_special_token": _MEDIA,
    "audio_key": _MEDIA,
    "audio_special_token": _MEDIA,
    "video_key": _MEDIA,
    "video_special_token": _MEDIA,
    "eoc_special_token": _MEDIA,
    "data_probe_algo": _SANDBOX,
    "data_probe_ratio": _SANDBOX,
    "model_infer_config": _SANDBOX,
    "model_train_config": _SANDBOX,
    "data_eval_config": _SANDBOX,
    "model_eval_config": _SANDBOX,
    "auto_num": "belongs to auto",
    "export_original_dataset": "`plait data run --study` keeps every row's numbers in lineage.parquet",
    "save_stats_in_one_file": "the analysis is one report",
    "export_extra_args": "belongs to formats that are not written here",
}
"""Settings that change nothing here → why."""

REFUSED: Mapping[str, str] = {
    "generated_dataset_config": "write the rows to a file first and name it in dataset_path",
    "custom_operator_paths": "name your own operation by its dotted path: my_package.my_module:MyFilter",
    "custom-operator-paths": "name your own operation by its dotted path: my_package.my_module:MyFilter",
    "decrypt_after_reading": "decrypt the files first",
    "encrypt_before_export": "encrypt the result afterwards",
    "encryption_key_path": "decrypt and encrypt outside",
    "export_aws_credentials": "put the credentials in the environment, not in a recipe",
    "auto": "use `plait data analyze`",
    "hpo_config": "use `plait data tune`",
}
"""Settings without which the result would be another one → what to do instead. Empty values are fine."""

VALIDATOR: Mapping[str, str] = {
    "field_types": "types follow from the data, and a record that does not fit is quarantined",
    "allow_missing": "how many records may be bad is said on the command line: --max-bad",
    "sample_size": "every record is looked at",
}
"""Settings of a validator that change nothing here → why."""

PLAN_ALONE: Mapping[str, str] = {"ray_repartition_pipeline": _PLANNED}
"""Operations that change how Data-Juicer works and no row → why they do nothing here."""

RUN_CONTROL = frozenset(
    {
        "num_proc", "cpu_required", "gpu_required", "mem_required", "num_cpus", "num_gpus", "memory", "batch_size",
        "accelerator", "runtime_env", "ray_execution_mode", "skip_op_error", "work_dir", "auto_op_parallelism",
        "adaptive_batching", "batch_mode", "turbo", "use_ray_actor", "concurrency", "gpu_memory_fraction",
        "stats_export_path", "index_key", "input_columns", "output_columns", "image_key", "image_bytes_key",
        "image_special_token", "audio_key", "audio_special_token", "video_key", "video_special_token",
        "eoc_special_token", "query_key", "response_key", "history_key", "system_key", "instruction_key", "prompt_key",
        "num_actors", "actor_num", "use_actor", "min_actors", "max_actors", "ray_actor",
    }
)  # fmt: skip
"""Arguments every operation of Data-Juicer takes; those an operation here has no use for change nothing."""
