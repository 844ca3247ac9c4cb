-- Whether any job under an agreement was begun: sent to nodes.
SELECT 1 FROM charges WHERE kind = 'agreement' AND name = :agreement AND state = 'spent' LIMIT 1
