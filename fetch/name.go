package fetch

import "strings"

// familiar returns the full form, by which containerd knows an image, of a name as
// people write it: "app" is docker.io/library/app:latest, and of a name with a tag
// and a digest the digest counts. It is ParseDockerRef of distribution/reference,
// whose regular expressions would cost every start 0.8 ms, without the check that
// the name is valid: one that is not is the name of no image.
func familiar(name string) string {
	rest, digest, hasDigest := strings.Cut(name, "@")
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || !strings.ContainsAny(domain, ".:") && domain != "localhost" && strings.ToLower(domain) == domain {
		domain, path = "docker.io", rest
	}
	if domain == "index.docker.io" {
		domain = "docker.io"
	}
	if domain == "docker.io" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	untagged, _, hasTag := strings.Cut(path, ":")
	switch {
	case hasDigest:
		return domain + "/" + untagged + "@" + digest
	case !hasTag:
		path += ":latest"
	}
	return domain + "/" + path
}
