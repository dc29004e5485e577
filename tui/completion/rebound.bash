# bash completion for rebound
# shellcheck shell=bash

_rebound_commands='demo devices inspect tokens logits residual gradient features feature encode generate
	attribute recover radius decompose replay compare list export'

# The options of a command, beside the common ones.
_rebound_options() {
	local input='--model --sae --labels --device --text --tokens --prompt --chat --no-bos --special --prompts --seed'
	local clamp='--clamp --clamp-top --clamp-positions --error'
	local common='--json --quiet --verbose --no-color --help'
	case $1 in
	'') echo "$input $common --version --ascii --no-hints --judge-lists" ;;
	demo) echo "--device --seed $common" ;;
	devices | inspect | list | compare) echo "$common" ;;
	tokens) echo "--text --tokens --prompt --chat --no-bos --special --model --tokenizer --batch $common" ;;
	logits) echo "$input $clamp --positions --npy $common" ;;
	residual) echo "$input --layer --hook --npy $common" ;;
	gradient) echo "$input $clamp --layer --hook --objective --npy $common" ;;
	features) echo "$input --position --top --npy $common" ;;
	feature) echo "$input --top $common" ;;
	encode) echo "--sae --device --input --out --clamp --error --grad-recon --grad-features $common" ;;
	generate) echo "$input $clamp --max-new --ignore-eos --temperature --top-k --top-p --delta --judge --judge-lists $common" ;;
	attribute) echo "$input --objective --top --layer --method --task --retain --retain-task --retain-threshold --position $common" ;;
	recover)
		echo "$input $clamp --objective --delta-layers --delta-positions --project --project-what --order
			--steps --lr --budget --ridge --lambda-act --lambda-decode --lambda-delta --act-loss
			--probes --drift-probe --probes-file --corrections --correction-lr --checkpoint --drift-threshold --rows-alike
			--answer-token-limit --answer-prefix-token-limit --answer-prefix-token-weight
			--out --task --batch --save-delta --save-state --stages --anchor --suffix --suffix-token --target --max-new --judge-lists $common"
		;;
	radius)
		echo "$(_rebound_options recover) --tolerance --trials"
		;;
	decompose) echo "--top --reference --device $common" ;;
	replay) echo "--device $common" ;;
	export) echo "--format --redact --out $common" ;;
	esac
}

# The fixed values of an option; nothing for one that takes a file, a text or a number.
_rebound_values() {
	case $1 in
	--hook) echo 'resid_pre resid_mid resid_post' ;;
	--positions) echo 'last all' ;;
	--position) echo 'last all' ;;
	--clamp-positions) echo 'all prompt generated' ;;
	--error) echo 'keep drop' ;;
	--method) echo 'attribution sparsity difference probe' ;;
	--delta-positions) echo 'last answer' ;;
	--project) echo 'none encoder jacobian' ;;
	--checkpoint) echo 'final drift_constrained penalty_score' ;;
	--project-what) echo 'gradient delta both' ;;
	--order) echo 'clamp-delta delta-clamp' ;;
	--act-loss) echo 'raw_mse relative_mse relative_l2 l2' ;;
	--reference) echo 'before-delta clamped-run' ;;
	--format) echo 'csv json latex svg pdf md' ;;
	--objective)
		echo 'logit_diff: choice_margin: choice_ce: vocab_margin: answer_logprob: first_token_logprob: probe_logit:'
		;;
	esac
}

_rebound() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' i values
	for ((i = 1; i < COMP_CWORD; i++)); do
		case " ${_rebound_commands//[$'\n\t']/ } " in
		*" ${COMP_WORDS[i]} "*)
			command=${COMP_WORDS[i]}
			break
			;;
		esac
	done
	COMPREPLY=()
	values=$(_rebound_values "$previous")
	if [ -n "$values" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
		[[ ${COMPREPLY[0]-} == *: ]] && compopt -o nospace
		return
	fi
	case $previous in
	--model | --sae | --labels | --prompts | --tokenizer | --batch | --npy | --input | --out | --delta | --grad-recon | --grad-features | --save-delta | --save-state)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	esac
	case $word in
	-*) mapfile -t COMPREPLY < <(compgen -W "$(_rebound_options "$command")" -- "$word") ;;
	*)
		if [ -z "$command" ]; then
			mapfile -t COMPREPLY < <(compgen -W "$_rebound_commands" -- "$word")
		else
			compopt -o filenames
			mapfile -t COMPREPLY < <(compgen -f -- "$word")
		fi
		;;
	esac
}
complete -F _rebound rebound
