"""The pages: templates that the server fills, plain ES modules and styles, no build step."""
