#include "sessions/export_figure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cairo/cairo-pdf.h>
#include <cairo/cairo-svg.h>

#include "compute/base/file.h"
#include "compute/base/mem.h"
#include "sessions/export.h"

/* Points; a page's text width in most journals. */
enum { WIDTH = 510, CURVES = 150, BAR = 15, MARGIN = 8, TITLE = 32, MOST_TICKS = 12 };

struct colour {
	double r, g, b;
};
/* Okabe and Ito's, told apart also by the colour-blind. */
static const struct colour blue = {0, 0.447, 0.698}, orange = {0.902, 0.624, 0}, green = {0, 0.620, 0.451},
			   red = {0.835, 0.369, 0}, grey = {0.45, 0.45, 0.45}, pale = {0.87, 0.87, 0.87},
			   black = {0.1, 0.1, 0.1};

static void use(cairo_t *c, struct colour colour)
{
	cairo_set_source_rgb(c, colour.r, colour.g, colour.b);
}

enum align { LEFT, CENTRE, RIGHT };

static void write_text(cairo_t *c, double x, double y, enum align align, double size, const char *text)
{
	size_t n = strlen(text);
	char *shown = mem_alloc(n + 1, 1);
	text_printable(shown, n + 1, text, n);
	cairo_text_extents_t extents;
	cairo_set_font_size(c, size);
	cairo_text_extents(c, shown, &extents);
	double left = align == LEFT ? x : align == RIGHT ? x - extents.x_advance : x - extents.x_advance / 2;
	cairo_move_to(c, left, y);
	cairo_show_text(c, shown);
	free(shown);
}

/* ---------------------------------------------------------------- a panel with axes */

struct panel {
	double x, y, w, h; /* the area of the curves */
	double most_x, low, high;
};

static double panel_x(const struct panel *p, double x)
{
	return p->x + p->w * x / p->most_x;
}

static double panel_y(const struct panel *p, double y)
{
	return p->y + p->h * (1 - (y - p->low) / (p->high - p->low));
}

/* 1, 2 or 5 times a power of ten, for about `parts` steps over a range. */
static double tick_step(double range, int parts)
{
	double power = pow(10, floor(log10(range / parts))), rest = range / parts / power;
	return power * (rest <= 1 ? 1 : rest <= 2 ? 2 : rest <= 5 ? 5 : 10);
}

static void draw_axes(cairo_t *c, const struct panel *p, const char *title)
{
	char text[32];
	double step = tick_step(p->high - p->low, 4), first = ceil(p->low / step);
	cairo_set_line_width(c, 0.5);
	for (int i = 0; i < MOST_TICKS && (first + i) * step <= p->high + step * 1e-6; i++) {
		double value = (first + i) * step, y = panel_y(p, value);
		use(c, pale);
		cairo_move_to(c, p->x, y);
		cairo_line_to(c, p->x + p->w, y);
		cairo_stroke(c);
		use(c, grey);
		snprintf(text, sizeof text, "%.4g", first + i == 0 ? 0 : value);
		write_text(c, p->x - 3, y + 2.3, RIGHT, 6.5, text);
	}
	step = fmax(1, tick_step(p->most_x, 4));
	for (int i = 0; i < MOST_TICKS && i * step <= p->most_x + step * 1e-6; i++) {
		double x = i * step;
		use(c, grey);
		snprintf(text, sizeof text, "%.4g", x);
		write_text(c, panel_x(p, x), p->y + p->h + 9, CENTRE, 6.5, text);
		cairo_move_to(c, panel_x(p, x), p->y + p->h);
		cairo_line_to(c, panel_x(p, x), p->y + p->h + 2);
		cairo_stroke(c);
	}
	use(c, grey);
	cairo_move_to(c, p->x, p->y + p->h);
	cairo_line_to(c, p->x + p->w, p->y + p->h);
	cairo_stroke(c);
	write_text(c, p->x + p->w / 2, p->y + p->h + 18, CENTRE, 7, "step");
	use(c, black);
	write_text(c, p->x, p->y - 6, LEFT, 8, title);
}

/* A dashed line, its name above or below. */
static void draw_level(cairo_t *c, const struct panel *p, double value, struct colour colour, const char *name,
		       bool above)
{
	static const double dash[] = {3, 2};
	if (!isfinite(value) || value < p->low || value > p->high)
		return;
	double y = panel_y(p, value);
	use(c, colour);
	cairo_set_line_width(c, 0.8);
	cairo_set_dash(c, dash, 2, 0);
	cairo_move_to(c, p->x, y);
	cairo_line_to(c, p->x + p->w, y);
	cairo_stroke(c);
	cairo_set_dash(c, NULL, 0, 0);
	write_text(c, p->x + p->w, above ? y - 2 : y + 7, RIGHT, 6.5, name);
}

/* ---------------------------------------------------------------- the curves */

enum curve { OBJECTIVE, DRIFT, NORM, CURVE_COUNT };

/* The value before step i, or of the result behind the last step; NaN if unknown. */
static double curve_value(const struct record_run *run, enum curve curve, int64_t i)
{
	if (i == run->steps) {
		if (!run->recovered.known || run->result_step != run->steps)
			return NAN;
		return curve == OBJECTIVE ? run->final.objective
		       : curve == DRIFT	  ? run->final.drift_relative_l2
					  : run->final.delta_norm;
	}
	const struct recovery_metrics *m = &run->history[i];
	return curve == OBJECTIVE ? m->objective : curve == DRIFT ? m->drift_relative_l2 : m->delta_norm;
}

struct runs {
	const struct record_run **items; /* the newest first */
	int count;
};

static void include(struct panel *p, double value)
{
	if (isfinite(value)) {
		p->low = fmin(p->low, value);
		p->high = fmax(p->high, value);
	}
}

static void fit(struct panel *p, const struct runs *runs, enum curve curve)
{
	p->low = curve == OBJECTIVE ? INFINITY : 0;
	p->high = curve == OBJECTIVE ? -INFINITY : 0;
	p->most_x = 1;
	for (int r = 0; r < runs->count; r++) {
		const struct record_run *run = runs->items[r];
		p->most_x = fmax(p->most_x, (double)run->steps);
		for (int64_t i = 0; i <= run->steps; i++)
			include(p, curve_value(run, curve, i));
	}
	const struct record_run *newest = runs->items[0];
	if (curve == OBJECTIVE && newest->base.known)
		include(p, newest->base.objective);
	if (curve == OBJECTIVE && newest->clamped.known)
		include(p, newest->clamped.objective);
	if (curve == NORM)
		include(p, newest->budget);
	/* Values that do not move, or none at all, still need a range. */
	if (!(p->high > p->low)) {
		double middle = isfinite(p->low) ? p->low : 0, room = fmax(fabs(middle), 1e-6);
		p->low = curve == OBJECTIVE ? middle - room : 0;
		p->high = middle + room;
	}
	double room = (p->high - p->low) * 0.08;
	p->high += room;
	if (curve == OBJECTIVE)
		p->low -= room;
}

static void draw_curve(cairo_t *c, const struct panel *p, const struct record_run *run, enum curve curve, bool newest)
{
	use(c, blue);
	if (!newest)
		cairo_set_source_rgba(c, blue.r, blue.g, blue.b, 0.3);
	cairo_set_line_width(c, newest ? 1.3 : 0.8);
	cairo_set_line_join(c, CAIRO_LINE_JOIN_ROUND);
	bool down = false;
	for (int64_t i = 0; i <= run->steps; i++) {
		double value = curve_value(run, curve, i);
		if (isfinite(value) && down)
			cairo_line_to(c, panel_x(p, (double)i), panel_y(p, value));
		else if (isfinite(value))
			cairo_move_to(c, panel_x(p, (double)i), panel_y(p, value));
		down = isfinite(value);
	}
	cairo_stroke(c);
}

static void draw_curves(cairo_t *c, const struct runs *runs, double top)
{
	static const char *const titles[] = {"objective J", "relative drift of the clamped features", "norm of delta"};
	const double side = (WIDTH - 2.0 * MARGIN) / CURVE_COUNT;
	const struct record_run *newest = runs->items[0];
	for (int k = 0; k < CURVE_COUNT; k++) {
		struct panel p = {.x = MARGIN + k * side + 30, .y = top + 16, .w = side - 38, .h = CURVES - 42};
		fit(&p, runs, (enum curve)k);
		draw_axes(c, &p, titles[k]);
		bool over = !newest->clamped.known || newest->base.objective >= newest->clamped.objective;
		if (k == OBJECTIVE && newest->base.known)
			draw_level(c, &p, newest->base.objective, green, "base", over);
		if (k == OBJECTIVE && newest->clamped.known)
			draw_level(c, &p, newest->clamped.objective, red, "clamped", !over);
		if (k == NORM)
			draw_level(c, &p, newest->budget, orange, "budget", true);
		for (int r = runs->count; r-- > 0;)
			draw_curve(c, &p, runs->items[r], (enum curve)k, r == 0);
	}
}

/* ---------------------------------------------------------------- the parts of delta */

static void replay_text(cairo_t *c, double x, double y, double objective, bool recovered)
{
	char text[64];
	snprintf(text, sizeof text, "%+.2f %s", objective, recovered ? "recovered" : "not recovered");
	use(c, recovered ? green : red);
	write_text(c, x, y, LEFT, 7, text);
}

static void draw_parts(cairo_t *c, const struct record_decomposition *parts, double top)
{
	const double label = MARGIN + 100, axis = MARGIN + 195, side = 80, alone = axis + side + 50,
		     without = alone + 85;
	double full = 0, widest = 1e-9;
	for (int i = 0; i < parts->count; i++) {
		full = strcmp(parts->components[i].name, "full") == 0 ? parts->components[i].norm : full;
		widest = fmax(widest, fabs(parts->components[i].norm * parts->components[i].cosine));
	}
	use(c, black);
	write_text(c, MARGIN, top, LEFT, 8, "parts of delta");
	write_text(c, axis, top, CENTRE, 7, "along delta: norm x cosine");
	write_text(c, alone, top, LEFT, 7, "replayed alone");
	write_text(c, without, top, LEFT, 7, "all but it");
	for (int i = 0; i < parts->count; i++) {
		const struct record_component *part = &parts->components[i];
		double y = top + 8 + i * BAR, value = part->norm * part->cosine, length = side * value / widest;
		char text[48], name[64];
		snprintf(name, sizeof name, "%.60s", part->name);
		for (char *s = name; *s; s++)
			*s = *s == '_' ? ' ' : *s;
		use(c, black);
		write_text(c, label, y + 8, RIGHT, 7, name);
		use(c, value < 0 ? orange : blue);
		cairo_rectangle(c, value < 0 ? axis + length : axis, y + 1, fabs(length), BAR - 5);
		cairo_fill(c);
		snprintf(text, sizeof text, "%+.2f", value);
		use(c, grey);
		write_text(c, axis + length + (value < 0 ? -3 : 3), y + 8, value < 0 ? RIGHT : LEFT, 6.5, text);
		replay_text(c, alone, y + 8, part->objective, part->recovered);
		if (part->has_knockout)
			replay_text(c, without, y + 8, part->knockout_objective, part->knockout_recovered);
	}
	use(c, grey);
	cairo_set_line_width(c, 0.6);
	cairo_move_to(c, axis, top + 6);
	cairo_line_to(c, axis, top + 8 + parts->count * BAR);
	cairo_stroke(c);
	char note[160];
	snprintf(
		note, sizeof note,
		"norm of delta %.2f; parts are not orthogonal and cancel, so bars are no shares; replays are under the "
		"clamp",
		full);
	write_text(c, MARGIN, top + 18 + parts->count * BAR, LEFT, 6.5, note);
}

/* ---------------------------------------------------------------- the file */

static cairo_status_t append(void *context, const unsigned char *data, unsigned int n)
{
	strbuf_add(context, data, n);
	return CAIRO_STATUS_SUCCESS;
}

static void list_runs(struct runs *runs, const struct record_list *list)
{
	for (int i = 0; i < list->count; i++)
		for (int r = list->items[i].good ? list->items[i].record.run_count : 0; r-- > 0;) {
			const struct record_run *run = &list->items[i].record.runs[r];
			if (run->steps == 0)
				continue;
			runs->items = mem_resize(runs->items, (size_t)runs->count + 1, sizeof *runs->items);
			runs->items[runs->count++] = run;
		}
}

static void draw_title(cairo_t *c, const struct runs *runs, bool redact)
{
	const struct record_run *run = runs->items[0];
	char *prompt = redact ? export_redacted_prompt(run) : record_prompt(run);
	char *method = record_method(run);
	char *more = runs->count > 1
			     ? mem_printf(" (and %d more run%s, pale)", runs->count - 1, runs->count > 2 ? "s" : "")
			     : mem_strdup("");
	char *text = mem_printf("%s: %s%s", prompt, record_verdict(run), more);
	char *how = mem_printf("%lld features clamped; %s", (long long)run->clamp_count, method);
	use(c, black);
	write_text(c, MARGIN, 13, LEFT, 8.5, text);
	use(c, grey);
	write_text(c, MARGIN, 24, LEFT, 7, how);
	free(prompt);
	free(method);
	free(more);
	free(text);
	free(how);
}

enum status export_figure(struct strbuf *out, const struct record_list *list, enum figure_format format, bool redact,
			  struct error *error)
{
	struct runs runs = {0};
	list_runs(&runs, list);
	if (runs.count == 0) {
		free(runs.items);
		return error_set(error, STATUS_NOTHING, "no session has a step to draw");
	}
	const struct record_decomposition *parts = &runs.items[0]->decomposition;
	double height = TITLE + CURVES + (parts->known ? 38 + parts->count * BAR : 0);
	cairo_surface_t *surface = format == FIGURE_SVG
					   ? cairo_svg_surface_create_for_stream(append, out, WIDTH, height)
					   : cairo_pdf_surface_create_for_stream(append, out, WIDTH, height);
	if (format == FIGURE_PDF) {
		cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_CREATOR, "rebound");
		/* The same session gives the same file. */
		for (int i = list->count; i-- > 0;)
			if (list->items[i].good)
				cairo_pdf_surface_set_metadata(surface, CAIRO_PDF_METADATA_CREATE_DATE,
							       list->items[i].record.created);
	}
	cairo_t *c = cairo_create(surface);
	cairo_select_font_face(c, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
	draw_title(c, &runs, redact);
	draw_curves(c, &runs, TITLE);
	if (parts->known)
		draw_parts(c, parts, TITLE + CURVES + 10);
	cairo_status_t done = cairo_status(c);
	cairo_destroy(c);
	cairo_surface_finish(surface);
	if (done == CAIRO_STATUS_SUCCESS)
		done = cairo_surface_status(surface);
	cairo_surface_destroy(surface);
	free(runs.items);
	if (done != CAIRO_STATUS_SUCCESS)
		return error_set(error, STATUS_FAILED, "the figure could not be drawn: %s",
				 cairo_status_to_string(done));
	return STATUS_OK;
}
