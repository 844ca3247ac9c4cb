UPDATE charges SET state = 'spent' WHERE job = :job
